import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest
import torch

from dubcli.geometry.crop import CROP_SIZE, MAX_COLOUR_SHIFT
from dubcli.geometry.morphable import INNER_LIP_RING, MorphableModel
from dubcli.geometry.window import WindowDrawer
from dubcli.media.lengths import plan_length
from dubcli.networks.renderer import DualAttentionRenderer, RendererHyper
from dubcli.records import Analysis, Bytes, Crop, Facts, Float, Frame, MouthTrack
from dubcli.stages import render as render_module
from dubcli.stages.render import (
    PLAIN_MASK,
    SHOW_FULLY,
    DubbedFrame,
    FaceRenderer,
    MaskShape,
    _Seen,
    closed_mouth,
    crop_of,
)
from dubcli.stages.select import face_window

HEIGHT, WIDTH = 399, 641  # odd, and wide enough for corners that no crop reaches
CORNER = slice(0, 24)
SMALL = RendererHyper(
    channels=8,
    geometry_channels=6,
    decoder_channels=8,
    half_channels=6,
    full_channels=4,
    key_channels=4,
    pncc_frequencies=8,
    position_frequencies=4,
)
RATE_HZ = 25.0  # at which the effect fades over FADE_S * 25 = 5 frames
FLOAT_TOLERANCE = 1e-5  # float32 sums of ramps
HALF_TOLERANCE = 1.01  # grey levels: two roundings of half a level each
OPEN = np.array([0, -0.8, 0.2], np.float32)  # cm: a mouth that moves down, as one piece


def made_analysis(valid: Sequence[int], shot: Sequence[int], turn: Sequence[float]) -> Analysis:
    count = len(valid)
    rotation = np.zeros((count, 3), np.float32)
    rotation[:, 1] = turn  # about the vertical axis
    zero = np.zeros(count, np.float32)
    return Analysis(
        alpha=np.zeros((count, 3), np.float32),
        beta=np.zeros((count, 4), np.float32),
        rotation=rotation,
        translation_px=np.zeros((count, 2), np.float32),
        scale_px=zero,
        shot=np.array(shot, np.int64),
        valid=np.array(valid, np.bool_),
        lip_aperture=zero,
    )


@pytest.fixture(scope="module")
def network() -> DualAttentionRenderer:
    torch.manual_seed(0)
    return DualAttentionRenderer(SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def draw(small_model: MorphableModel) -> WindowDrawer:
    return WindowDrawer(small_model)


@pytest.fixture(scope="module")
def analysis(known_clip) -> Analysis:
    """Return the first eight frames of a head 280 pixels high in the middle of the picture."""
    frames = 8
    return Analysis(
        alpha=known_clip.alpha.expand(frames, -1).numpy(),
        beta=known_clip.beta[:frames].numpy(),
        rotation=known_clip.rotation[:frames].numpy(),
        translation_px=known_clip.translation_px[:frames].numpy(),
        scale_px=known_clip.scale_px[:frames].numpy(),
        shot=np.zeros(frames, np.int64),
        valid=np.ones(frames, np.bool_),
        lip_aperture=np.linspace(0, 1, frames, dtype=np.float32),
    )


def picture(index: int) -> Bytes:
    rng = np.random.default_rng(index)
    noise = rng.integers(0, 256, (HEIGHT // 8 + 1, WIDTH // 8 + 1, 3), np.uint8)
    return cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


PICTURES = [picture(index) for index in range(8)]


class Renders:
    """Renders a made-up video; each call starts a new ``FaceRenderer``."""

    def __init__(self, network: DualAttentionRenderer, draw: WindowDrawer) -> None:
        self.network, self.draw = network, draw
        self.taken = 0  # frames that the last call has asked for

    def face(
        self,
        analysis: Analysis,
        amount: Float,
        face_references: int,
        person: Sequence[int] | None = None,
        mask: MaskShape = PLAIN_MASK,
    ) -> FaceRenderer:
        return FaceRenderer(
            self.network,
            self.draw.model,
            analysis,
            amount=amount,
            face_references=face_references,
            person=None if person is None else np.array(person, np.int64),
            mask=mask,
        )

    def stream(
        self,
        analysis: Analysis,
        order: Sequence[int],
        *,
        amount: Float | None = None,
        pictures: Sequence[Bytes] = PICTURES,
        bank: Sequence[int] = (0,),
        mouth: Float = OPEN,
        face_references: int = 5,
        wanted: set[int] | None = None,
        person: Sequence[int] | None = None,
        mask: MaskShape = PLAIN_MASK,
    ) -> Iterator[DubbedFrame]:
        """Render frames in an order; the mouth is the source's own, moved by ``mouth``."""
        amount = np.ones(len(analysis), np.float32) if amount is None else amount
        face = self.face(analysis, amount, face_references, person, mask)
        source = [Frame(t, pictures[t]) for t in range(len(analysis))]
        face.load_lip_bank(source, np.array(bank, np.int64))
        self.taken = 0

        def frames() -> Iterator[Frame]:
            for t in order:
                self.taken += 1
                yield source[t]

        own = self.draw.own_displacement(analysis.beta)
        mouths = (MouthTrack(own[t] + mouth, t) for t in order)
        return face.render(frames(), mouths, wanted, np.array(order))

    def __call__(self, analysis: Analysis, order: Sequence[int], **named) -> list[DubbedFrame]:
        return list(self.stream(analysis, order, **named))


@pytest.fixture
def render(network: DualAttentionRenderer, draw: WindowDrawer) -> Renders:
    return Renders(network, draw)


def first(analysis: Analysis, count: int) -> Analysis:
    columns = {name: getattr(analysis, name) for name in Analysis.__dataclass_fields__}
    return Analysis(**{name: None if c is None else c[:count] for name, c in columns.items()})


def negative(index: int) -> list[Bytes]:
    """Return the pictures with one of them turned into its negative."""
    return [255 - p if t == index else p for t, p in enumerate(PICTURES)]


def same(one: DubbedFrame, other: DubbedFrame) -> bool:
    return bool((one.rgb == other.rgb).all())


def test_every_frame_comes_out_once_in_order_with_another_mouth(
    render: Renders, analysis: Analysis
) -> None:
    done = render(analysis, range(8))
    assert len(done) == 8
    for t, frame in enumerate(done):
        assert frame.rgb.shape == PICTURES[t].shape
        assert frame.rgb.dtype == np.uint8
        np.testing.assert_array_equal(frame.rgb[CORNER, CORNER], PICTURES[t][CORNER, CORNER])
        assert frame.dubbed
        assert (frame.rgb != PICTURES[t]).any()


def test_source_frames_are_not_written_to(render: Renders, analysis: Analysis) -> None:
    render(analysis, range(3))
    for t in range(3):
        np.testing.assert_array_equal(PICTURES[t], picture(t))


def test_only_pixels_under_the_mask_change(render: Renders, analysis: Analysis) -> None:
    for t, frame in enumerate(render(analysis, range(3))):
        assert frame.mask is not None
        assert set(np.unique(frame.mask)) == {0, 1}
        crop = crop_of(analysis, t)
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        at = np.stack([columns, rows], -1) @ crop.matrix[:, :2].T + crop.matrix[:, 2]
        column, row = np.floor(at).astype(int).transpose(2, 0, 1)
        inside = (column >= 0) & (column < crop.size_px) & (row >= 0) & (row < crop.size_px)
        masked = np.zeros((HEIGHT, WIDTH), bool)
        masked[inside] = frame.mask[row[inside], column[inside]] > 0
        changed = (frame.rgb != PICTURES[t]).any(-1)
        assert not (changed & ~masked).any()
        assert changed[masked].mean() > 0.5


def test_frames_without_a_face_pass_through_and_so_do_those_without_effect(
    render: Renders, analysis: Analysis
) -> None:
    valid, amount = np.ones(8, bool), np.ones(8, np.float32)
    valid[[2, 3]] = False
    amount[[2, 3, 5]] = 0
    gappy = replace(analysis, valid=valid, scale_px=analysis.scale_px * valid)
    done = render(gappy, range(8), amount=amount)
    assert [frame.dubbed for frame in done] == [True, True, False, False, True, False, True, True]
    for t in (2, 3, 5):
        np.testing.assert_array_equal(done[t].rgb, PICTURES[t])
        assert done[t].mask is None


def test_bounced_order_renders_a_source_frame_the_same_way_each_time(
    render: Renders, analysis: Analysis
) -> None:
    four = first(analysis, 4)
    forward = render(four, range(4))
    order = [0, 1, 2, 3, 2, 1, 0, 1]
    for t, frame in zip(order, render(four, order), strict=True):
        assert same(frame, forward[t])


def test_long_bounce_is_the_same_too_once_neighbours_were_forgotten(
    render: Renders, analysis: Analysis
) -> None:
    order = [*range(8), *range(6, -1, -1), 1]
    done = render(analysis, order, face_references=1)
    for t, frame in zip(order, done, strict=True):
        assert same(frame, done[t])


class Names(FaceRenderer):
    """Names the references of each frame, in place of rendering it."""

    def __init__(self, length: int, face_references: int) -> None:
        self.length, self._face_references = length, face_references

    def _see(self, frame: Frame) -> _Seen:
        return _Seen(frame, None, None, None)

    def _window(self, t: int) -> set[int]:
        return set(face_window(t, self.length, face=self._face_references).tolist())

    def _finish(self, item, mouth, seen, workers) -> tuple[int, list[int]]:
        t = item.frame.index
        return t, sorted(self._window(t) & seen.keys())


def order_of(mode: str, length: int, count: int) -> list[int]:
    return list(plan_length(mode, length, Fraction(count, 25), Fraction(25)).indices())


@pytest.mark.parametrize("mode", ["bounce", "loop", "freeze", "remap"])
@pytest.mark.parametrize("face_references", [1, 2, 3, 4, 5, 11])
def test_chosen_frames_have_the_references_that_they_have_among_all(
    face_references: int, mode: str
) -> None:
    for length, speech in itertools.product((1, 2, 3, 5, 8, 13), (1, 4, 15, 40)):
        order = order_of(mode, length, speech)
        count = len(order)

        def named(wanted: set[int] | None, length=length, order=order) -> list:
            frames = [Frame(t, PICTURES[0]) for t in order]
            mouths = [MouthTrack(OPEN, t) for t in order]
            names = Names(length, face_references)
            return list(names.render(frames, mouths, wanted, np.array(order)))

        everything = named(None)
        assert len(everything) == count
        for k in range(count):
            assert named({k}) == [everything[k]]
        assert named({0, count // 2, count - 1}) == [
            everything[k] for k in sorted({0, count // 2, count - 1})
        ]


@pytest.mark.parametrize(("mode", "speech"), [("loop", 24), ("remap", 31), ("freeze", 20)])
def test_every_frame_has_all_its_neighbours_beside_seams_and_repeats(
    mode: str, speech: int
) -> None:
    order = order_of(mode, 8, speech)
    mouths = [MouthTrack(OPEN, t) for t in order]
    named = Names(8, 5).render((Frame(t, PICTURES[0]) for t in order), mouths)
    for t, (index, references) in zip(order, named, strict=True):
        assert index == t
        assert references == list(range(max(0, t - 2), min(8, t + 3)))


def test_a_frame_that_stays_is_not_held_back() -> None:
    taken = 0

    def frames() -> Iterator[Frame]:
        nonlocal taken
        for t in [*range(8), *[7] * 100]:
            taken += 1
            yield Frame(t, PICTURES[0])

    named = Names(8, 5).render(frames(), (MouthTrack(OPEN, 0) for _ in range(108)))
    for number in range(1, 109):
        next(named)
        assert taken <= max(8, number)


def test_chosen_frames_come_out_as_among_all(render: Renders, analysis: Analysis) -> None:
    order = [*range(8), 6, 5]
    everything = render(analysis, order, face_references=3)
    some = render(analysis, order, face_references=3, wanted={1, 9})
    assert len(some) == 2
    assert same(some[0], everything[1])
    assert same(some[1], everything[9])


def test_frames_far_from_those_chosen_are_not_encoded(
    render: Renders, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    see = FaceRenderer._see
    monkeypatch.setattr(
        FaceRenderer, "_see", lambda self, frame: looked_at.append(frame.index) or see(self, frame)
    )
    assert len(render(analysis, range(8), face_references=3, wanted={6})) == 1
    assert looked_at == [1, 2, 3, 4, 5, 6, 7]


def test_face_references_are_the_neighbours_up_to_two_frames_away(
    render: Renders, analysis: Analysis
) -> None:
    def fourth(pictures: Sequence[Bytes]) -> DubbedFrame:
        return list(islice(render.stream(analysis, range(8), bank=[7], pictures=pictures), 4))[3]

    plain = fourth(PICTURES)
    used = [t for t in range(7) if not same(plain, fourth(negative(t)))]
    assert used == [1, 2, 3, 4, 5]


def test_one_face_reference_is_the_frame_itself(render: Renders, analysis: Analysis) -> None:
    plain = render(analysis, range(4), face_references=1)
    other = render(analysis, range(4), face_references=1, pictures=negative(3))
    assert [same(a, b) for a, b in zip(plain, other, strict=True)] == [True, True, True, False]


def test_face_references_never_come_from_another_shot(render: Renders, analysis: Analysis) -> None:
    cut = replace(analysis, shot=np.array([0, 0, 0, 1, 1, 1, 1, 1]))
    plain, other = (render(cut, range(8), pictures=p) for p in (PICTURES, negative(3)))
    assert [same(a, b) for a, b in zip(plain[:3], other[:3], strict=True)] == [True] * 3
    assert not same(plain[4], other[4])


def test_faceless_neighbours_are_no_references(render: Renders, analysis: Analysis) -> None:
    valid = np.ones(8, bool)
    valid[2] = False
    gappy = replace(analysis, valid=valid)
    amount = valid.astype(np.float32)
    plain, other = (
        render(gappy, range(8), amount=amount, pictures=p) for p in (PICTURES, negative(2))
    )
    assert same(plain[1], other[1])
    assert same(plain[3], other[3])


def test_lip_references_come_from_the_bank(render: Renders, analysis: Analysis) -> None:
    plain = render(analysis, range(3), bank=[6])
    assert not same(plain[0], render(analysis, range(3), bank=[6], pictures=negative(6))[0])
    assert same(plain[0], render(analysis, range(3), bank=[6], pictures=negative(5))[0])


def test_bank_takes_the_wanted_frames_and_lets_the_others_pass(
    render: Renders, analysis: Analysis
) -> None:
    face = render.face(analysis, np.ones(8, np.float32), 5)
    frames = [Frame(t, PICTURES[t]) for t in range(5)]
    assert face.load_lip_bank(frames, np.array([4, 1, 7])) == 2
    assert face.load_lip_bank([], np.array([1])) == 0


def test_without_a_bank_frames_pass_through(render: Renders, analysis: Analysis) -> None:
    for frame in render(analysis, range(3), bank=[]):
        assert not frame.dubbed


def test_one_frame_video_is_dubbed_however_often_it_repeats(
    render: Renders, analysis: Analysis
) -> None:
    one = first(analysis, 1)
    done = render(one, [0, 0, 0, 0])
    assert [frame.dubbed for frame in done] == [True] * 4
    assert all(same(frame, done[0]) for frame in done)
    assert render(one, []) == []


def test_frames_are_given_out_as_soon_as_their_neighbours_were_seen(
    render: Renders, analysis: Analysis
) -> None:
    stream = render.stream(analysis, range(8))
    for number in range(1, 9):
        next(stream)
        assert render.taken == min(8, number + 2)


@pytest.mark.parametrize(("frames", "mouths"), [(3, 2), (2, 3)])
def test_another_number_of_mouths_than_of_frames_is_refused(
    render: Renders, analysis: Analysis, frames: int, mouths: int
) -> None:
    face = render.face(analysis, np.ones(8, np.float32), 5)
    own = render.draw.own_displacement(analysis.beta)
    pictures = [Frame(t, PICTURES[t]) for t in range(frames)]
    with pytest.raises(ValueError, match="zip"):
        list(face.render(pictures, [MouthTrack(own[t], t) for t in range(mouths)]))


def test_the_generated_mouth_is_what_is_rendered(render: Renders, analysis: Analysis) -> None:
    own, opened = (render(analysis, range(3), mouth=m)[1] for m in (0 * OPEN, OPEN))
    assert not same(own, opened)
    assert own.mask is not None
    assert opened.mask is not None
    assert (opened.mask >= own.mask).all()  # the source's mask and the moved jaw's
    assert opened.mask.sum() > own.mask.sum()


def test_a_faint_effect_mixes_the_source_in(render: Renders, analysis: Analysis) -> None:
    full, faint = (
        render(analysis, range(1), amount=np.full(8, level, np.float32), mouth=0 * OPEN)[0].rgb
        for level in (1.0, SHOW_FULLY / 2)
    )
    source = PICTURES[0].astype(float)
    np.testing.assert_allclose(faint - source, (full - source) / 2, atol=HALF_TOLERANCE)


def test_amount_above_the_threshold_covers_the_source(render: Renders, analysis: Analysis) -> None:
    full, enough = (
        render(analysis, range(1), amount=np.full(8, level, np.float32), mouth=0 * OPEN)[0]
        for level in (1.0, SHOW_FULLY)
    )
    assert same(full, enough)


@pytest.mark.parametrize("place", [(0, 0), (WIDTH, HEIGHT), (-400, 200)])
def test_head_that_leaves_the_picture_is_no_error(
    render: Renders, analysis: Analysis, place: tuple[int, int]
) -> None:
    away = replace(analysis, translation_px=np.full((8, 2), place, np.float32))
    for frame in render(away, range(2)):
        assert frame.rgb.shape == (HEIGHT, WIDTH, 3)


def test_closed_mouth_is_the_mean_of_the_most_closed_twentieth(
    draw: WindowDrawer, known_clip
) -> None:
    count = 60
    rng = np.random.default_rng(1)
    aperture = rng.permutation(count).astype(np.float32)
    beta = known_clip.beta.numpy()
    blank = made_analysis([1] * count, [0] * count, [0.0] * count)
    opened = replace(blank, beta=beta, lip_aperture=aperture)

    got = closed_mouth(opened, draw, opened.valid)
    most = [int(np.flatnonzero(aperture == level)[0]) for level in range(3)]  # 60 / 20
    np.testing.assert_allclose(got, draw.own_displacement(beta[most]).mean(0), atol=1e-6)

    usable = aperture > 20  # the most closed ones are not to be used
    got = closed_mouth(opened, draw, usable)
    (most_closed,) = np.flatnonzero(aperture == 21)
    assert usable.sum() // 20 == 1
    np.testing.assert_allclose(got, draw.own_displacement(beta[most_closed]), atol=1e-6)


def test_closed_mouth_of_a_single_frame_is_its_own(draw: WindowDrawer, known_clip) -> None:
    one = replace(made_analysis([1], [0], [0.0]), beta=known_clip.beta[:1].numpy())
    got = closed_mouth(one, draw, one.valid)
    np.testing.assert_allclose(got, draw.own_displacement(one.beta[0]), atol=1e-6)
    assert got.shape == (len(draw.lower), 3)


def test_frames_that_show_nothing_cost_nothing(
    render: Renders, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = FaceRenderer._source_points

    def noted(self: FaceRenderer, t: int, crop: Crop) -> Float:
        seen.append(t)
        return encode(self, t, crop)

    whole = render(analysis, range(8), face_references=3)
    monkeypatch.setattr(FaceRenderer, "_source_points", noted)
    amount = np.float32([0, 0, 0, 0, 0, 1, 0, 0])
    some = render(analysis, range(8), amount=amount, face_references=3)
    assert seen == [0, 4, 5, 6]  # the lip reference, the frame and its neighbours
    assert [frame.dubbed for frame in some] == [t == 5 for t in range(8)]
    assert same(some[5], whole[5])


def test_nobody_is_given_the_mouth_of_another_person(render: Renders, analysis: Analysis) -> None:
    shots = replace(analysis, shot=np.array([0] * 4 + [1] * 4))
    who, bank = [0] * 4 + [1] * 4, (1, 6)
    plain = render(shots, range(4), bank=bank, person=who)
    other = render(shots, range(4), bank=bank, person=who, pictures=negative(6))
    own = render(shots, range(4), bank=bank, person=who, pictures=negative(1))
    assert all(same(*pair) for pair in zip(plain, other, strict=True))
    assert not same(plain[3], own[3])
    only = render(shots, range(8), bank=(6,), person=who)
    assert [frame.dubbed for frame in only] == [False] * 4 + [True] * 4


def changed(frame: DubbedFrame) -> Facts:
    return (frame.rgb != PICTURES[0]).any(-1)


def test_mask_grows_and_shrinks_by_as_much_as_asked(render: Renders, analysis: Analysis) -> None:
    areas = {}
    for grow in (-5, 0, 5):
        (frame,) = render(first(analysis, 1), [0], mask=replace(PLAIN_MASK, grow_px=grow))
        assert frame.mask is not None
        areas[grow] = frame.mask
    plain = areas[0]
    assert plain[:, CROP_SIZE // 2].any()
    for grow in (-5, 5):
        rows = (
            np.flatnonzero(areas[grow][:, CROP_SIZE // 2]),
            np.flatnonzero(plain[:, CROP_SIZE // 2]),
        )
        assert rows[1][0] - rows[0][0] == pytest.approx(grow, abs=1)
    assert (areas[-5] <= plain).all()
    assert (plain <= areas[5]).all()


def test_softer_edge_changes_less_near_it_and_as_much_in_the_middle(
    render: Renders, analysis: Analysis
) -> None:
    one = first(analysis, 1)
    (hard,), (soft,) = (
        render(one, [0], mask=replace(PLAIN_MASK, feather_px=px)) for px in (2.0, 20.0)
    )
    change = [np.abs(f.rgb.astype(float) - PICTURES[0]).sum() for f in (hard, soft)]
    assert change[1] < 0.9 * change[0]
    crop = crop_of(one, 0)
    x, y = np.linalg.solve(crop.matrix[:, :2], [128, 165] - crop.matrix[:, 2]).astype(int)
    np.testing.assert_allclose(hard.rgb[y, x].astype(int), soft.rgb[y, x].astype(int), atol=1)


def test_debug_mask_tints_exactly_what_is_replaced(render: Renders, analysis: Analysis) -> None:
    one = first(analysis, 1)
    (plain,) = render(one, [0], mouth=OPEN)
    (tint,) = render(one, [0], mouth=OPEN, mask=replace(PLAIN_MASK, tint=True))
    marked = (tint.rgb != plain.rgb).any(-1)
    assert marked.sum() > 0.9 * changed(plain).sum()
    assert (changed(plain) & ~marked).sum() < 0.02 * marked.sum()
    np.testing.assert_array_equal(tint.rgb[CORNER, CORNER], PICTURES[0][CORNER, CORNER])
    assert (tint.rgb == (0, 255, 0)).all(-1).any()


def test_refiner_gets_the_mouths_of_the_bank_the_most_alike_first(
    draw: WindowDrawer, analysis: Analysis
) -> None:
    """A refiner that always chooses the first, or the second, shows that frame's colour."""
    torch.manual_seed(0)
    network = DualAttentionRenderer(replace(SMALL, refiner_channels=4)).eval().requires_grad_(False)
    assert network.refiner is not None
    colours = {2: np.array([20, 200, 90], np.uint8), 5: np.array([200, 30, 120], np.uint8)}
    pictures = list(PICTURES)
    for t, colour in colours.items():
        pictures[t] = np.broadcast_to(colour, pictures[t].shape).copy()
    own = draw.own_displacement(analysis.beta)
    wanted = own[5] - own[0]  # frame 0 with the mouth of frame 5
    mesh = draw.target_mesh(draw.source_mesh(analysis, 0), analysis.beta[0], own[5], 1.0)
    crop = crop_of(analysis, 0)
    points = draw.in_crop(mesh, analysis, 0, crop)
    middle = points[list(INNER_LIP_RING), :2].mean(axis=0)
    x, y = np.linalg.solve(crop.matrix[:, :2], middle - crop.matrix[:, 2]).astype(int)
    near = MAX_COLOUR_SHIFT + HALF_TOLERANCE
    for choice, frame in ((1, 5), (2, 5), (3, 2), (4, 2)):  # each moved with head, with chin
        network.refiner.out.bias.zero_()
        network.refiner.out.bias[3 + choice] = 100.0
        (done,) = Renders(network, draw)(
            first(analysis, 6), range(6), pictures=pictures, bank=[2, 5], mouth=wanted, wanted={0}
        )
        shown = done.rgb[y - 1 : y + 2, x - 1 : x + 2].astype(np.float32)
        assert np.abs(shown - colours[frame]).max() <= near


@pytest.mark.parametrize("finely", [True, False])
def test_teeth_come_at_the_resolution_of_the_frame(
    draw: WindowDrawer, analysis: Analysis, monkeypatch: pytest.MonkeyPatch, finely: bool
) -> None:
    """The frame itself as its only reference: the inside of its mouth is its own, pixel by pixel.

    The crop is half as fine as this frame, and the frame's own detail stops at the lips. From the
    crops alone the mouth is soft.
    """
    if not finely:
        monkeypatch.setattr(render_module, "finer", lambda *_: None)
    torch.manual_seed(0)
    network = DualAttentionRenderer(replace(SMALL, refiner_channels=4)).eval().requires_grad_(False)
    assert network.refiner is not None
    network.refiner.out.bias.zero_()
    network.refiner.out.bias[4] = 100.0  # the first mouth, moved with the head
    large = replace(
        analysis, scale_px=2 * analysis.scale_px, translation_px=2 * analysis.translation_px
    )
    noise = np.random.default_rng(5).integers(0, 256, (2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    frame = cv2.GaussianBlur(noise, (0, 0), 1.0).astype(np.uint8)
    face = FaceRenderer(
        network, draw.model, large, amount=np.ones(len(large), np.float32), face_references=1
    )
    frames = [Frame(t, frame) for t in range(len(large))]
    face.load_lip_bank(frames, np.array([3]))
    own = draw.own_displacement(large.beta)
    crop = crop_of(large, 3)
    points = draw.in_crop(draw.source_mesh(large, 3), large, 3, crop)
    middle = points[list(INNER_LIP_RING), :2].mean(axis=0)
    x, y = np.linalg.solve(crop.matrix[:, :2], middle - crop.matrix[:, 2]).astype(int)

    def error(mouth: Float) -> float:
        """Return how far the middle of the mouth is from the frame's, grey levels."""
        tracks = (MouthTrack(mouth, t) for t in range(len(large)))
        (done,) = face.render(frames, tracks, {3}, np.arange(len(large)))
        here = np.s_[y - 2 : y + 3, x - 4 : x + 5]
        return float(np.abs(done.rgb[here].astype(np.float32) - frame[here]).mean())

    still = own[3].copy()
    still[np.searchsorted(draw.lower, 200)] += 0.01  # another mouth, as good as the same
    assert error(still) < 2 if finely else error(still) > 6
