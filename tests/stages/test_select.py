import numpy as np
import pytest

from dubcli.stages.select import face_window, lip_bank, spread, training_references

# Algorithm 1 by hand. The paper counts frames from 1, here they count from 0.


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 20, 5, [0, 5, 10, 15, 20]),
        (3, 3, 4, [3, 3, 3, 3]),
        (0, 9, 2, [0, 9]),
        (0, 4, 9, [0, 0, 1, 2, 2, 2, 3, 4, 4]),  # 0.5 and 1.5, 2.5: halves go to the even one
        (7, 11, 1, [7]),
    ],
)
def test_spread_is_a_rounded_linspace(low: int, high: int, count: int, expected: list[int]) -> None:
    got = spread(low, high, count)
    assert got.tolist() == expected
    assert got.dtype == np.int64


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (50, [48, 49, 50, 51, 52]),  # i - 2 .. i + 2
        (0, [0, 1, 2]),  # nothing before the first frame
        (1, [0, 1, 2, 3]),
        (99, [97, 98, 99]),  # nor after the last one
        (98, [96, 97, 98, 99]),
    ],
)
def test_face_window_is_the_five_frames_around_and_ends_with_the_video(
    index: int, expected: list[int]
) -> None:
    assert face_window(index, 100).tolist() == expected


def test_face_window_of_other_sizes() -> None:
    assert face_window(10, 100, face=1).tolist() == [10]
    assert face_window(10, 100, face=4).tolist() == [8, 9, 10, 11, 12]  # 4 // 2 on each side
    assert face_window(0, 1).tolist() == [0]
    assert face_window(1, 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (50, [40, 45, 50, 55, 60]),  # i - 10 .. i + 10
        (0, [0, 2, 5, 8, 10]),  # 0, 2.5, 5, 7.5, 10
        (3, [0, 3, 6, 10, 13]),  # 0, 3.25, 6.5, 9.75, 13
        (99, [89, 92, 94, 96, 99]),  # 89, 91.5, 94, 96.5, 99
    ],
)
def test_training_face_references_are_spread_over_twenty_frames(
    index: int, expected: list[int]
) -> None:
    face, _ = training_references(index, 100, np.random.default_rng(0))
    assert face.tolist() == expected


def test_training_lip_references_are_different_random_frames_of_the_whole_video() -> None:
    seen = set()
    for seed in range(60):
        _, lip = training_references(50, 30 + 21, np.random.default_rng(seed))
        assert len(set(lip.tolist())) == 5
        seen |= set(lip.tolist())
    assert seen == set(range(51))


def test_training_lip_references_repeat_where_the_video_is_shorter() -> None:
    face, lip = training_references(1, 3, np.random.default_rng(0), face=5, lip=8)
    assert face.tolist() == [0, 0, 1, 2, 2]  # 0, 0.5, 1, 1.5, 2
    assert len(lip) == 8
    assert set(lip.tolist()) <= {0, 1, 2}


def test_same_generator_state_gives_the_same_references() -> None:
    first, second = (training_references(5, 40, np.random.default_rng(7))[1] for _ in range(2))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(("index", "length"), [(-1, 10), (10, 10), (0, 0)])
def test_a_frame_outside_the_video_is_refused(index: int, length: int) -> None:
    message = f"frame {index} is not among {length} frames"
    with pytest.raises(ValueError, match=message):
        face_window(index, length)
    with pytest.raises(ValueError, match=message):
        training_references(index, length, np.random.default_rng(0))


def test_lip_bank_spreads_over_the_order_of_opening() -> None:
    aperture = np.array([5, 1, 4, 2, 3, 0, 6], dtype=np.float32)
    # Sorted: frames 5 1 3 4 2 0 6; linspace(1, 7, 4) of them is places 1, 3, 5, 7.
    assert lip_bank(aperture, np.ones(7, bool), lip=4).tolist() == [5, 3, 2, 6]
    assert lip_bank(aperture, np.ones(7, bool), lip=2).tolist() == [5, 6]


def test_lip_bank_keeps_the_order_of_frames_that_are_equally_open() -> None:
    aperture = np.array([1, 0, 1, 0, 1], dtype=np.float32)
    assert lip_bank(aperture, np.ones(5, bool), lip=5).tolist() == [1, 3, 0, 2, 4]


def test_lip_bank_of_a_long_video_has_25_frames_sorted_from_closed_to_open() -> None:
    aperture = np.random.default_rng(0).uniform(size=400).astype(np.float32)
    bank = lip_bank(aperture, np.ones(400, bool))
    assert len(set(bank.tolist())) == 25
    assert (np.diff(aperture[bank]) > 0).all()
    assert bank[0] == aperture.argmin()
    assert bank[-1] == aperture.argmax()
    ranks = np.argsort(np.argsort(aperture))[bank]
    np.testing.assert_allclose(ranks, np.linspace(0, 399, 25), atol=0.5)


def test_lip_bank_takes_all_of_fewer_frames_and_only_usable_ones() -> None:
    aperture = np.array([3, 9, 1, 2], dtype=np.float32)
    valid = np.array([True, False, True, True])
    assert lip_bank(aperture, valid).tolist() == [2, 3, 0]
    assert lip_bank(aperture, valid, lip=3).tolist() == [2, 3, 0]
    assert lip_bank(aperture, valid, lip=2).tolist() == [2, 0]


def test_a_video_without_a_face_has_no_lip_bank() -> None:
    with pytest.raises(ValueError, match="no frame has a face"):
        lip_bank(np.zeros(4, np.float32), np.zeros(4, bool))
