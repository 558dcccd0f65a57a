"""What ``import dubcli`` promises."""

import subprocess
import sys

import pytest

import dubcli
from dubcli.errors import CheckpointError, DubError, InputError, MediaError


def test_public_names_are_these() -> None:
    assert set(dubcli.__all__) == {
        "BatchOptions",
        "CacheOptions",
        "DubError",
        "DubOptions",
        "EvaluationOptions",
        "Line",
        "__version__",
        "analyze",
        "batch_status",
        "dub",
        "evaluate",
        "load_models",
        "plan_batch",
        "run_batch",
    }


@pytest.mark.parametrize("name", dubcli.__all__)
def test_public_name_can_be_used_and_is_listed(name: str) -> None:
    assert getattr(dubcli, name) is not None
    assert name in dir(dubcli)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'dubcli' has no attribute 'dubb'$"):
        _ = dubcli.dubb


def test_importing_the_package_does_not_import_torch() -> None:
    program = (
        "import sys, dubcli; dubcli.DubOptions(); dubcli.DubError\n"
        "heavy = {'torch', 'transformers', 'mediapipe', 'librosa', 'cv2'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_error_is_a_dub_error_with_its_exit_code() -> None:
    codes = {
        error: error.exit_code for error in (DubError, InputError, CheckpointError, MediaError)
    }
    assert codes == {DubError: 1, InputError: 2, CheckpointError: 3, MediaError: 4}
    assert all(issubclass(error, DubError) for error in codes)
