"""Who is who, and who is dubbed, on faces whose every number is known."""

import numpy as np
import pytest

from dubcli.records import Bytes, Faces, Float
from dubcli.stages.people import (
    NOBODY,
    group,
    largest_in_each_shot,
    of_rows,
    person_of_frames,
)

FRAMES = 12


def faces(*tracks: tuple[str, float, str]) -> Faces:
    """Return tracks of (an x where it is seen, pixels per cm, name); a | is a cut before it."""
    cuts = {k - tracks[0][0][:k].count("|") for k, m in enumerate(tracks[0][0]) if m == "|"}
    shot = np.cumsum([t in cuts for t in range(FRAMES)])
    rows = []
    for track, (seen, scale, name) in enumerate(tracks):
        marks = seen.replace("|", "")
        assert len(marks) == FRAMES
        rows += [(t, track, scale, name) for t, mark in enumerate(marks) if mark == "x"]
    rows.sort(key=lambda row: row[:2])
    identity = {name: vector(name) for _, _, name in tracks}
    count = len(rows)
    return Faces(
        frame=np.array([row[0] for row in rows], np.int64),
        track=np.array([row[1] for row in rows], np.int64),
        alpha=np.stack([identity[row[3]] for row in rows]),
        beta=np.arange(count, dtype=np.float32)[:, None],
        rotation=np.zeros((count, 3), np.float32),
        translation_px=np.zeros((count, 2), np.float32),
        scale_px=np.array([row[2] for row in rows], np.float32),
        lip_aperture=np.zeros(count, np.float32),
        covered=np.array([row[0] % 2 == 1 for row in rows]),
        shot=shot.astype(np.int64),
        portrait=np.stack([np.full((2, 2, 3), ord(name[0]), np.uint8) for *_, name in tracks]),
        portrait_frame=np.zeros(len(tracks), np.int64),
    )


def vector(name: str) -> Float:
    """Return an identity: of one letter the same direction, but for a little of its own."""
    whole = np.random.default_rng(ord(name[0])).normal(size=48)
    own = np.random.default_rng(len(name)).normal(size=48)
    return (whole + 0.3 * own).astype(np.float32)


def embed(portrait: Bytes) -> Float:
    return np.random.default_rng(int(portrait[0, 0, 0])).normal(size=128).astype(np.float32)


def chosen_frames(given: Faces, chosen: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(given.frame[chosen].tolist(), given.track[chosen].tolist(), strict=True))


@pytest.mark.parametrize("how", [None, embed])
def test_one_person_keeps_her_number_across_cuts_and_numbers_go_by_size_and_time(how) -> None:
    given = faces(
        ("xxxx|....|....", 5, "b"),
        ("....|xxxx|....", 9, "a"),
        ("....|....|xxxx", 5, "bb"),
        ("....|.x..|....", 2, "c"),
    )
    assert group(given, how).tolist() == [1, 0, 1, 2]


def test_two_who_are_seen_at_once_are_two_however_alike() -> None:
    given = faces(("xxxxxx|......", 5, "a"), ("...xxx|......", 4, "aa"), ("......|xxxxxx", 5, "a"))
    people = group(given, embed)
    assert people[0] == people[2] != people[1]


def test_largest_of_a_shot_is_dubbed_throughout_it_even_while_another_is_larger() -> None:
    given = faces(
        ("xxxxxxxx|....", 5, "a"),
        ("......xx|....", 9, "b"),  # walks past the camera
        ("........|xxxx", 3, "a"),
        ("........|xxxx", 4, "b"),
    )
    person = group(given, embed)
    chosen = largest_in_each_shot(given, person)
    assert chosen_frames(given, chosen) == [
        *((t, 0) for t in range(8)),
        *((t, 3) for t in range(8, 12)),
    ]
    who = person_of_frames(given, person, chosen)
    assert who.tolist() == [person[0]] * 8 + [person[1]] * 4


def test_one_who_is_lost_and_found_elsewhere_in_a_shot_is_dubbed_in_both_places() -> None:
    given = faces(("xxxx........", 5, "a"), (".......xxxxx", 5, "aaa"), ("xxxxxxxxxxxx", 2, "b"))
    chosen = largest_in_each_shot(given, group(given, None))
    assert [track for _, track in chosen_frames(given, chosen)] == [0] * 4 + [1] * 5


def test_analysis_has_a_row_a_frame_and_no_face_where_none_is_chosen() -> None:
    given = faces(("xx|...x......", 5, "a"), ("xx|xxxx......", 4, "b"))
    chosen = given.track == 0
    analysis = of_rows(given, chosen)
    assert analysis.valid.tolist() == [t in {0, 1, 5} for t in range(FRAMES)]
    assert analysis.beta[[0, 1, 5], 0].tolist() == given.beta[chosen, 0].tolist()
    assert not analysis.scale_px[~analysis.valid].any()
    assert analysis.covered is not None
    assert np.flatnonzero(analysis.covered).tolist() == [1, 5]  # as their rows say
    assert analysis.shot.tolist() == [0] * 2 + [1] * 10
    assert person_of_frames(given, np.array([4, 5]), chosen)[[0, 2]].tolist() == [4, NOBODY]
