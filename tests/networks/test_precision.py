"""What networks compute in."""

from pathlib import Path

import pytest
import torch

from dubcli.networks.precision import has_fast_bfloat16, mixed


def test_a_cpu_has_fast_bfloat16_if_the_system_lists_amx() -> None:
    try:
        listed = "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii")
    except OSError:
        listed = False
    assert has_fast_bfloat16(torch.device("cpu")) == listed


def test_a_torch_that_cannot_tell_counts_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_fast_bfloat16(torch.device("cpu"))
    assert not has_fast_bfloat16(torch.device("mps"))


def test_only_what_is_asked_for_is_computed_in_bfloat16() -> None:
    layer, ones, cpu = torch.nn.Linear(4, 4), torch.ones(1, 4), torch.device("cpu")
    with mixed(cpu, bfloat16=True):
        assert layer(ones).dtype == torch.bfloat16
    with mixed(cpu, bfloat16=False):
        assert layer(ones).dtype == torch.float32
