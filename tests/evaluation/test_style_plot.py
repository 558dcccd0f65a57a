from pathlib import Path

import cv2
import numpy as np
import pytest

from dubcli.errors import InputError
from dubcli.evaluation.style import StyleMatrix
from dubcli.evaluation.style_plot import check_plot, flat_map, plot_styles, shortened
from dubcli.records import Float


def matrix(count: int) -> StyleMatrix:
    """Return a table of random styles; the names need more than ASCII, and care."""
    generator = np.random.default_rng(0)
    styles: Float = generator.normal(size=(count, 8)).astype(np.float32)
    styles /= np.linalg.norm(styles, axis=1, keepdims=True)
    similarity = np.clip(styles @ styles.T, 0, 1)
    videos = tuple(Path(f"Zoë_{k}$^{k}.mp4") for k in range(count))
    return StyleMatrix(videos, (50,) * count, styles, similarity, (), "style-encoder", "0" * 64)


@pytest.mark.parametrize("count", [2, 20])
def test_plot_is_a_picture_of_every_colour_of_the_table(tmp_path: Path, count: int) -> None:
    path = tmp_path / "style.png"
    plot_styles(matrix(count), path)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape[1] > picture.shape[0] > 500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    assert list(tmp_path.iterdir()) == [path]


def test_map_of_styles_that_lie_in_a_plane_keeps_their_distances() -> None:
    generator = np.random.default_rng(1)
    plane = np.linalg.qr(generator.normal(size=(6, 2)))[0]
    styles = (generator.normal(size=(5, 2)) @ plane.T + 3).astype(np.float32)
    places, share = flat_map(styles)
    assert share == pytest.approx(1)
    for a, b in zip(styles, places, strict=True):
        np.testing.assert_allclose(
            np.linalg.norm(places - b, axis=1), np.linalg.norm(styles - a, axis=1), atol=1e-4
        )


def test_map_of_one_style_twice_is_one_place() -> None:
    places, _ = flat_map(np.ones((2, 4), dtype=np.float32))
    np.testing.assert_allclose(places, 0, atol=1e-6)


def test_long_name_keeps_its_ends_and_a_dollar_is_no_mathematics() -> None:
    name = shortened("start-" + "x" * 60 + "-end")
    assert (name[:6], name[-4:]) == ("start-", "-end")
    assert len(name) == 28
    assert shortened("a$b") == r"a\$b"


def test_plot_that_could_not_be_written_is_refused(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "style.jpg", "must end in .png"),
        (tmp_path / "no" / "style.png", "does not exist"),
    ):
        with pytest.raises(InputError, match=why):
            check_plot(path, overwrite=True)
    there = tmp_path / "there.png"
    there.write_bytes(b"")
    with pytest.raises(InputError, match="exists already"):
        check_plot(there, overwrite=False)
    check_plot(there, overwrite=True)
