import numpy as np
import torch

from dubcli.networks.losses import multiscale_l1
from dubcli.networks.renderer import Rendered
from dubcli.stages.samples import ReferenceBatch, Sample
from dubcli.training.renderer import RendererTraining, sample_losses, to_bytes


def sample(seed: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(seed)

    def pictures(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, 16, 16, generator=generator)

    masks = (pictures(2) > 0.5).float()
    face, lip = (
        ReferenceBatch(pictures(n, 3), pictures(n, 3), (pictures(n) > 0.5).float()) for n in (2, 3)
    )
    both = masks[0], masks[1]
    return Sample(pictures(3), pictures(3), *both, face, lip, torch.zeros(3), pictures(8))


def test_losses_weigh_lips_and_warp_as_the_options_say() -> None:
    one = sample()
    made = Rendered(torch.rand(3, 16, 16), torch.rand(3, 16, 16), torch.rand(8, 4, 4))
    training = RendererTraining(lip_weight=3.0, warp_weight=0.3, gradient_weight=1.5)
    weight = (one.face_mask + 3 * one.lip_mask)[None]
    losses = sample_losses(made, one, training)
    assert losses.keys() == {"image", "warp"}
    image, warp = (multiscale_l1(m, one.picture, weight, 1.5) for m in (made.image, made.warp))
    torch.testing.assert_close(losses["image"], image)
    torch.testing.assert_close(losses["warp"], 0.3 * warp)


def test_pictures_for_the_metrics_are_rounded_and_limited() -> None:
    picture = torch.tensor([-1.0, 0.0, 0.5, 127.4 / 255, 1.0, 2.0]).expand(3, 1, 6)
    got = to_bytes(picture)
    assert got.dtype == np.uint8
    assert got.shape == (1, 6, 3)
    assert got[0, :, 0].tolist() == [0, 0, 128, 127, 255, 255]
