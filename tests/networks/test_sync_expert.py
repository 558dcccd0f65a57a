import pytest
import torch
from torch import Tensor

from dubcli.networks.sync_expert import SyncExpert, SyncHyper

FRAMES = 24
HYPERS = {
    "vertices": SyncHyper("vertices", audio_width=6, lower_vertices=5, width=16, embedding=8),
    "pixels": SyncHyper("pixels", audio_width=6, picture=(16, 32), width=16, embedding=8),
}


def expert(kind: str) -> SyncExpert:
    torch.manual_seed(0)
    return SyncExpert(HYPERS[kind]).eval()


def mouths(kind: str, frames: int = FRAMES) -> Tensor:
    shape = (5, 3) if kind == "vertices" else (1, 16, 32)
    return torch.rand(2, frames, *shape, generator=torch.Generator().manual_seed(1))


def frames_changed(before: Tensor, after: Tensor) -> list[int]:
    return (before != after).any(-1).any(0).nonzero().flatten().tolist()


@pytest.mark.parametrize("kind", HYPERS)
@torch.no_grad()
def test_embeddings_have_unit_length_and_one_row_a_frame(kind: str) -> None:
    network = expert(kind)
    sound = network.embed_sound(torch.randn(2, 2 * FRAMES, 6))
    mouth = network.embed_mouth(mouths(kind))
    for embedded in (sound, mouth):
        assert embedded.shape == (2, FRAMES, 8)
        torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2, FRAMES))
    assert network.embed_and_tell(mouths(kind))[1].shape == (2, FRAMES, 32)


@pytest.mark.parametrize("kind", HYPERS)
@torch.no_grad()
def test_a_frame_sees_its_neighbourhood_and_nothing_beyond(kind: str) -> None:
    network, x = expert(kind), mouths(kind)
    other = x.clone()
    other[:, 12] += torch.rand(other[:, 12].shape)
    seen = frames_changed(network.embed_mouth(x), network.embed_mouth(other))
    assert seen == list(range(12 - network.reach(), 12 + network.reach() + 1))
    assert len(seen) == 7  # 0.28 s, as long as SyncNet's stretch
    sound = torch.randn(2, 2 * FRAMES, 6)
    louder = sound.clone()
    louder[:, 24:26] += torch.randn(2, 2, 6)
    heard = frames_changed(network.embed_sound(sound), network.embed_sound(louder))
    assert heard == list(range(12 - 3, 12 + 3 + 1))


@torch.no_grad()
def test_brightness_and_contrast_of_a_picture_are_no_cue() -> None:
    network, x = expert("pixels"), mouths("pixels")
    gain = torch.linspace(0.3, 0.9, FRAMES)[None, :, None, None, None]
    changed = network.embed_mouth(x * gain + 0.1)
    torch.testing.assert_close(changed, network.embed_mouth(x), atol=0.02, rtol=0)
    assert (network.embed_mouth(x.flip(-1)) - network.embed_mouth(x)).abs().max() > 0.02


def test_flat_pictures_give_finite_embeddings_and_gradients() -> None:
    x = torch.full((1, 8, 1, 16, 32), 0.5, requires_grad=True)
    embedded = expert("pixels").embed_mouth(x)
    embedded.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert embedded.isfinite().all()
    assert x.grad.isfinite().all()


def test_half_a_frame_of_sound_and_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="7 audio features"):
        expert("vertices").embed_sound(torch.zeros(1, 7, 6))
    with pytest.raises(ValueError, match="kind is voxels, known are vertices, pixels"):
        SyncHyper("voxels")
