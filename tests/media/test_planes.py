from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dubcli.media.planes import Canvas, canvas_for, layer_info, layout_of, raw_layout
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.records import Bytes, Float, Frame, Patch, VideoInfo

Make = Callable[..., Path]
INFO = VideoInfo(
    path=Path("a.mov"),
    width=37,
    height=26,
    frame_rate=Fraction(25),
    frame_count=1,
    duration_s=None,
    rotation_deg=0,
    variable_rate=False,
    has_audio=False,
    codec="prores",
    pixel_format="yuv422p10le",
    colour_space="bt709",
    colour_primaries="bt709",
    colour_transfer="bt709",
    colour_range="tv",
)
LAYOUTS = ["yuv420p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "yuva444p16le", "gbrp",
           "gbrap16le", "gray", "gray16le"]  # fmt: skip


def canvas(pixel_format: str, **changes: object) -> Canvas:
    return canvas_for(replace(INFO, pixel_format=pixel_format, **changes))  # type: ignore[arg-type]


def noise(canvas: Canvas, seed: int = 3) -> Bytes:
    """Return planes of any samples there can be: most are no colour of RGB."""
    most = 1 << canvas.layout.depth
    kind = np.uint8 if canvas.layout.depth == 8 else np.dtype("<u2")
    count = canvas.frame_bytes // np.dtype(kind).itemsize
    return np.random.default_rng(seed).integers(0, most, count).astype(kind).view(np.uint8)


def flat(canvas: Canvas, *levels: float) -> Bytes:
    """Return planes that hold one sample each, as parts of the greatest."""
    most = (1 << canvas.layout.depth) - 1
    kind = np.uint8 if canvas.layout.depth == 8 else np.dtype("<u2")
    shapes = canvas.layout.shapes(canvas.width, canvas.height)
    planes = [
        np.full(h * w, round(v * most), kind) for (h, w), v in zip(shapes, levels, strict=False)
    ]
    return np.concatenate(planes).view(np.uint8)


def frame_of(canvas: Canvas, planes: Bytes) -> Frame:
    return Frame(0, canvas.show(planes), planes)


def patch_at(top: int, left: int, picture: Float | Bytes) -> Patch:
    share = np.ones(picture.shape[:2], np.float32)
    return Patch(top, left, picture.astype(np.float32), share)


@pytest.mark.parametrize(
    ("pixel_format", "planar"),
    [
        ("yuv420p", "yuv420p"),
        ("yuvj422p", "yuv422p"),
        ("nv12", "yuv420p"),
        ("p010le", "yuv420p10le"),
        ("p416be", "yuv444p16le"),
        ("yuv440p12le", "yuv444p12le"),
        ("rgb24", "gbrp"),
        ("bgra", "gbrap"),
        ("rgb48be", "gbrp16le"),
        ("gray", "gray"),
        ("ya8", "gbrap"),
        ("pal8", "gbrp"),
        ("bayer_rggb8", "gbrp"),
    ],
)
def test_any_format_has_a_planar_one(pixel_format: str, planar: str) -> None:
    assert raw_layout(pixel_format).name == planar


def test_other_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match="nv12 is no planar format"):
        layout_of("nv12")


@pytest.mark.parametrize(
    ("pixel_format", "codec", "size"),
    [
        ("yuv420p", "ffv1", "64x48"),
        ("yuv420p", "ffv1", "63x47"),
        ("yuv422p10le", "ffv1", "64x48"),
        ("yuv444p12le", "ffv1", "64x48"),
        ("yuva444p10le", "ffv1", "64x48"),
        ("gbrp16le", "ffv1", "64x48"),
        ("gray16le", "ffv1", "64x48"),
        ("rgb48be", "png", "64x48"),
        ("yuvj420p", "mjpeg", "64x48"),
        ("yuyv422", "rawvideo", "64x48"),
    ],
)
def test_frames_hold_the_very_samples_of_the_file(
    make: Make, raw: Callable[..., bytes], pixel_format: str, codec: str, size: str
) -> None:
    source = f"testsrc2=s={size}:r=25:d=0.12,noise=alls=60:allf=t"
    coded = ("-c:v", codec, "-pix_fmt", pixel_format, "-strict", "-1")
    path = make("a.avi" if codec == "rawvideo" else "a.mkv", "-f", "lavfi", "-i", source, *coded)
    info = probe_video(path)
    layout = canvas_for(info).layout
    with FrameReader(info) as reader:
        frames = [frame.planes for frame in reader]
    held = "yuvj420p" if codec == "mjpeg" else layout.name
    expected = raw(path, "-f", "rawvideo", "-pix_fmt", held)
    assert b"".join(planes.tobytes() for planes in frames if planes is not None) == expected
    assert len(frames) == 3


@pytest.mark.parametrize(("depth", "full"), [(8, False), (8, True), (10, False), (12, True)])
def test_networks_see_the_colours_of_bt709(*, depth: int, full: bool) -> None:
    """The equations of ITU-R BT.709-6, items 3.2 to 3.4 and 4.6, with its printed constants."""
    name = "yuv444p" if depth == 8 else f"yuv444p{depth}le"
    colours = canvas(name, colour_range="pc" if full else "tv")
    planes = noise(colours)
    y, u, v = (
        plane.astype(float) for plane in colours.layout.split(planes, INFO.width, INFO.height)
    )
    unit, most = 2.0 ** (depth - 8), 2.0**depth - 1
    luma = y / most if full else (y / unit - 16) / 219
    blue, red = ((c - 128 * unit) / (most if full else 224 * unit) for c in (u, v))
    rgb = [luma + 1.5748 * red, luma - 0.1873 * blue - 0.4681 * red, luma + 1.8556 * blue]
    expected = 255 * np.clip(np.stack(rgb, -1), 0, 1)
    assert np.abs(colours.show(planes) - expected).max() < 1.1


@pytest.mark.parametrize("pixel_format", LAYOUTS)
@pytest.mark.parametrize("transfer", ["bt709", "smpte2084"])
@pytest.mark.parametrize("place", [(4, 6), (5, 7), (17, 28)])
def test_samples_outside_the_patch_are_the_sources(
    pixel_format: str, transfer: str, place: tuple[int, int]
) -> None:
    whole = canvas(pixel_format, colour_transfer=transfer)
    planes = noise(whole)
    size = (9, 9)
    patch = patch_at(*place, np.full((*size, 3), 90.0))
    patch.share[0, :4] = 0
    laid = whole.lay_over(frame_of(whole, planes), patch)
    split = [whole.layout.split(data, INFO.width, INFO.height) for data in (planes, laid)]
    reached = np.zeros((INFO.height, INFO.width), bool)
    reached[place[0] : place[0] + size[0], place[1] : place[1] + size[1]] = patch.share > 0
    for index, (before, after) in enumerate(zip(*split, strict=True)):
        shift_x, shift_y = whole.layout.chroma_shift
        allowed = reached
        if whole.layout.family == "yuv" and index in {1, 2}:
            allowed = np.zeros(before.shape, bool)
            rows, columns = np.nonzero(reached)
            allowed[rows >> shift_y, columns >> shift_x] = True
        np.testing.assert_array_equal(before[~allowed], after[~allowed])
        if index < 3:
            assert (before[allowed] != after[allowed]).mean() > 0.5
        else:  # alpha
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("pixel_format", LAYOUTS)
def test_a_patch_of_the_frames_own_picture_changes_nothing(pixel_format: str) -> None:
    whole = canvas(pixel_format)
    planes = noise(whole)
    frame = frame_of(whole, planes)
    patch = patch_at(3, 4, frame.rgb[3:20, 4:30])
    np.testing.assert_array_equal(whole.lay_over(frame, patch), planes)
    np.testing.assert_array_equal(whole.lay_over(frame, None), planes)


@pytest.mark.parametrize("pixel_format", [name for name in LAYOUTS if "gray" not in name])
@pytest.mark.parametrize("transfer", ["bt709", "arib-std-b67", "smpte2084"])
def test_the_patch_is_what_is_seen_afterwards(pixel_format: str, transfer: str) -> None:
    whole = canvas(pixel_format, colour_transfer=transfer, colour_space="bt2020nc")
    yuv = whole.layout.family == "yuv"
    planes = flat(whole, 0.4, 0.5 if yuv else 0.3, 0.52 if yuv else 0.5, 1.0)
    skin = np.broadcast_to(np.array([180.0, 120.0, 90.0]), (10, 14, 3))
    seen = whole.show(whole.lay_over(frame_of(whole, planes), patch_at(4, 6, skin)))
    # Eight bits of PQ are coarse: a code is up to 3 levels of what is seen.
    tolerance = 4 if transfer == "smpte2084" and whole.layout.depth == 8 else 1.6
    assert np.abs(seen[4:14, 6:20].astype(float) - skin).max() < tolerance


def test_ten_bits_stay_ten_bits_under_the_patch() -> None:
    """A ramp finer than 8 bits, brightened by 20 levels, has as many steps as before."""
    whole = canvas("yuv420p10le", width=400, height=8)
    ramp = np.tile(np.linspace(300, 420, 400).round().astype("<u2"), 8)
    planes = np.concatenate([ramp, np.full(200 * 4 * 2, 512, "<u2")]).view(np.uint8)
    frame = frame_of(whole, planes)
    laid = whole.lay_over(frame, patch_at(0, 0, frame.rgb + 20.0))
    before, after = (whole.layout.split(data, 400, 8)[0] for data in (planes, laid))
    np.testing.assert_array_equal(after, before + round(20 / 255 * 876))
    assert len(np.unique(after)) == 121


@pytest.mark.parametrize("transfer", ["bt709", "smpte2084"])
def test_a_layer_over_the_frame_is_the_dubbed_frame(transfer: str) -> None:
    whole = canvas("gbrp16le", colour_transfer=transfer)
    rng = np.random.default_rng(2)
    planes = flat(whole, 0.3, 0.25, 0.45)
    frame = frame_of(whole, planes)
    patch = patch_at(5, 7, rng.uniform(60, 200, (12, 20, 3)).astype(np.float32))
    patch.share[:] = rng.choice([0, 1], patch.share.shape)
    layer = whole.layer(patch)
    layout = canvas_for(layer_info(INFO)).layout
    assert (layout.name, len(layer)) == ("gbrap10le", layout.frame_bytes(37, 26))
    *colours, alpha = (plane / 1023 for plane in layout.split(layer, 37, 26))
    dubbed = whole.layout.split(whole.lay_over(frame, patch), 37, 26)
    for colour, before, after in zip(colours, whole.layout.split(planes, 37, 26), dubbed,
                                     strict=True):  # fmt: skip
        over = alpha * colour + (1 - alpha) * before / 65535
        assert np.abs(over - after / 65535).max() < 0.003  # 8 bits of the shown frame, 10 of layer
    assert not whole.layer(None).any()
    np.testing.assert_array_equal(alpha[5:17, 7:27], patch.share)
    assert alpha.sum() == patch.share.sum()


def test_a_frame_without_its_planes_is_refused() -> None:
    whole = canvas("yuv420p")
    with pytest.raises(ValueError, match="frame 7 has no planes"):
        whole.lay_over(Frame(7, np.zeros((26, 37, 3), np.uint8)), None)
