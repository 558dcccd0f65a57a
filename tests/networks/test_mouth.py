import math

import pytest
import torch
from torch import Tensor

from dubcli.networks.mouth import (
    BOX_COLUMNS,
    BOX_ROWS,
    EDGE,
    GRID,
    MOUTHS,
    PLAIN,
    PREFERRED,
    SHARP,
    MouthCritic,
    MouthRefiner,
    mouth_box,
    soft_edge,
    without_weave,
)
from dubcli.networks.renderer import DualAttentionRenderer, Rendered, RendererHyper, refiner_inputs

HEIGHT, WIDTH = 168, 224


def lips(top: int, left: int, height: int = 30, width: int = 50) -> Tensor:
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[top : top + height, left : left + width] = 1
    return mask


@pytest.mark.parametrize(
    ("top", "left"), [(60, 80), (61, 83), (0, 0), (HEIGHT - 30, WIDTH - 50), (5, 170)]
)
def test_box_holds_the_lips_and_lies_on_the_grid_of_tokens(top: int, left: int) -> None:
    mask = lips(top, left)
    box = mouth_box(mask)
    assert box.cut(mask).shape == (BOX_ROWS, BOX_COLUMNS)
    assert box.cut(mask).sum() == mask.sum()
    assert box.top % GRID == box.left % GRID == 0


def test_box_of_no_lips_is_inside_the_window() -> None:
    assert mouth_box(torch.zeros(HEIGHT, WIDTH)).cut(torch.zeros(HEIGHT, WIDTH)).shape == (
        BOX_ROWS,
        BOX_COLUMNS,
    )


def test_box_cuts_the_same_place_out_of_a_picture_and_of_tokens() -> None:
    mask = lips(61, 83)
    rows = torch.arange(HEIGHT)[:, None].expand(HEIGHT, WIDTH)
    tokens = torch.arange(HEIGHT // GRID)[:, None].expand(-1, WIDTH // GRID)
    box = mouth_box(mask)
    assert torch.equal(box.cut(rows)[::GRID, ::GRID], box.cut(tokens, GRID) * GRID)


def test_soft_edge_is_full_inside_and_nothing_outside_the_lips() -> None:
    mask = lips(60, 80)
    edge = soft_edge(mask)
    assert (edge[mask == 0] == 0).all()
    inside = torch.zeros_like(mask)
    inside[60 + EDGE : 90 - EDGE, 80 + EDGE : 130 - EDGE] = 1
    assert (edge[inside > 0] == 1).all()
    assert ((edge >= 0) & (edge <= 1)).all()


def test_weave_is_taken_out_and_what_is_even_stays() -> None:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(10), indexing="ij")
    for weave in ((rows + columns) % 2, rows % 2, columns % 2):
        found = without_weave((0.3 + weave)[None, None])
        inside = found[..., 1:-1, 1:-1]
        torch.testing.assert_close(inside, torch.full_like(inside, 0.8))
    slope = (rows + 2.0 * columns)[None, None]
    torch.testing.assert_close(without_weave(slope)[..., 1:-1, 1:-1], slope[..., 1:-1, 1:-1])


def renderer(channels: int) -> DualAttentionRenderer:
    torch.manual_seed(0)
    return DualAttentionRenderer(RendererHyper(refiner_channels=channels)).eval()


def carried_mouths() -> Tensor:
    return torch.rand(8 * MOUTHS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4))


def rendered_window() -> tuple[Rendered, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    picture, warp, pncc = (torch.rand(3, HEIGHT, WIDTH, generator=generator) for _ in range(3))
    latent = torch.rand(64, HEIGHT // 4, WIDTH // 4, generator=generator)
    return Rendered(picture, warp, latent), pncc, lips(60, 80)


@torch.no_grad()
def test_untrained_refiner_prefers_the_rendered_picture_and_mixes_in_all_mouths_alike() -> None:
    rendered, pncc, mask = rendered_window()
    mouths = carried_mouths()
    image = renderer(8).refine(rendered, pncc, mask, mouths).image
    others = 2 * MOUTHS
    share = 1 / (math.exp(SHARP * PREFERRED) + others)
    mean = mouths.view(others, 4, HEIGHT, WIDTH)[:, :3].mean(0)
    wanted = rendered.image + soft_edge(mask) * others * share * (mean - rendered.image)
    torch.testing.assert_close(image, wanted)


@torch.no_grad()
@pytest.mark.parametrize("choice", range(2 * MOUTHS))
def test_a_refiner_that_chooses_a_mouth_shows_its_pixels(choice: int) -> None:
    rendered, pncc, mask = rendered_window()
    mouths, network = carried_mouths(), renderer(8)
    assert network.refiner is not None
    network.refiner.out.bias[4 + choice] = 100.0  # type: ignore[index]
    image = network.refine(rendered, pncc, mask, mouths).image
    inside = soft_edge(mask) == 1
    chosen = mouths[4 * choice : 4 * choice + 3]
    torch.testing.assert_close(image[:, inside], chosen[:, inside])


def test_renderer_with_a_refiner_wants_mouths() -> None:
    rendered, pncc, mask = rendered_window()
    with pytest.raises(ValueError, match="mouths"):
        renderer(8).refine(rendered, pncc, mask, None)


@torch.no_grad()
def test_renderer_without_a_refiner_leaves_its_picture() -> None:
    rendered, pncc, mask = rendered_window()
    assert renderer(0).refine(rendered, pncc, mask, None) is rendered


@torch.no_grad()
def test_refiner_changes_the_lips_alone_and_not_the_picture_it_was_given() -> None:
    rendered, pncc, mask = rendered_window()
    before = rendered.image.clone()
    network = renderer(8)
    assert network.refiner is not None
    network.refiner.out.bias[:3] = 0.25  # type: ignore[index]
    network.refiner.out.bias[3] = 100.0  # type: ignore[index]  # the rendered picture
    after = network.refine(rendered, pncc, mask, carried_mouths()).image
    torch.testing.assert_close(after - before, (0.25 * soft_edge(mask)).expand(3, -1, -1))
    assert torch.equal(rendered.image, before)


@torch.no_grad()
def test_refiner_sees_picture_warp_geometry_lips_and_mouths_in_this_order() -> None:
    rendered, pncc, mask = rendered_window()
    mouths = carried_mouths()
    pixels, latent = refiner_inputs(rendered, pncc, mask, mouths)
    box = mouth_box(mask)
    plain = ((0, rendered.image), (3, rendered.warp), (6, pncc), (9, mask[None]))
    for start, part in (*plain, (PLAIN, mouths)):
        assert torch.equal(pixels[start : start + len(part)], box.cut(part))
    assert torch.equal(latent, box.cut(rendered.latent, 4))


def test_refiner_reaches_its_latent_once_its_last_layer_is_not_zero() -> None:
    torch.manual_seed(2)
    refiner = MouthRefiner(4, 8)
    torch.nn.init.normal_(refiner.out.weight)
    latent = torch.rand(1, 4, BOX_ROWS // 4, BOX_COLUMNS // 4, requires_grad=True)
    pixels = torch.rand(1, PLAIN + 8 * MOUTHS, BOX_ROWS, BOX_COLUMNS)
    refiner(pixels, latent).sum().backward()
    assert latent.grad is not None
    assert (latent.grad != 0).any()


def test_critic_scores_places_and_does_not_grow_with_its_weights() -> None:
    """Spectral normalisation: ten times the weights give the same scores."""
    torch.manual_seed(3)
    critic = MouthCritic((12, 20), 8)
    maps = [torch.rand(2, 12, BOX_ROWS // 2, BOX_COLUMNS // 2), torch.rand(2, 20, 18, 24)]
    geometry = torch.rand(2, 3, BOX_ROWS, BOX_COLUMNS), torch.rand(2, 1, BOX_ROWS, BOX_COLUMNS)
    for _ in range(20):  # the power iteration settles
        critic(maps, *geometry)
    critic.eval()
    with torch.no_grad():
        before = critic(maps, *geometry)
        assert [score.shape for score in before] == [(2, 1, 36, 48), (2, 1, 18, 24)]
        critic.scorers[1][0].parametrizations.weight.original.mul_(10)
    torch.testing.assert_close(critic(maps, *geometry), before, rtol=1e-3, atol=1e-4)


def test_critic_hears_of_each_map_and_of_the_geometry() -> None:
    torch.manual_seed(3)
    critic = MouthCritic((4, 4), 8).eval()
    maps = [torch.rand(1, 4, 6, 8, requires_grad=True) for _ in "ab"]
    pncc, lips = (torch.rand(1, n, 12, 16, requires_grad=True) for n in (3, 1))
    torch.stack([score.sum() for score in critic(maps, pncc, lips)]).sum().backward()
    for seen in (*maps, pncc, lips):
        assert seen.grad is not None
        assert (seen.grad != 0).any()
