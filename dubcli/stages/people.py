"""Who is who among the tracks of a video, and which of them is dubbed.

Letters: F rows of ``Faces``, K tracks, T frames, D features.
"""

from collections.abc import Callable

import numpy as np

from dubcli.records import Analysis, Bytes, Faces, Facts, Float, Integers

Embed = Callable[[Bytes], Float]  # a portrait -> a vector whose direction is the person

# Cosine distances below which two tracks are the same person. Between halves of 24 val clips
# SFace has at most 0.29 and between different people at least 0.66; the fitted identity has 0.42
# and less in three quarters of the former, and in 1 of 2000 pairs of the latter.
EMBEDDED_ALIKE = 0.47
FITTED_ALIKE = 0.35
FITTED_ALIKE_IN_SHOT = 0.6  # one who comes back is more likely than another of the same face
NOBODY = -1


def group(faces: Faces, embed: Embed | None) -> Integers:
    """Return the person of each track, [K]: 0 the one who is seen largest and longest, then on.

    The tracks are taken by their area times duration; each joins the person whom it resembles
    most, if it does so enough and is nowhere seen beside them, else it is a new person.

    Args:
        faces: All tracks.
        embed: The network that tells people apart; None: by the fitted identity, which is less
            sure and, where in doubt, makes two people of one.
    """
    if not len(faces.portrait):
        return np.zeros(0, dtype=np.int64)
    vectors = directions(faces, embed)
    limits = (EMBEDDED_ALIKE,) * 2 if embed else (FITTED_ALIKE, FITTED_ALIKE_IN_SHOT)
    rows = [np.flatnonzero(faces.track == track) for track in range(len(vectors))]
    frames = [set(faces.frame[of_track].tolist()) for of_track in rows]
    shots = [set(faces.shot[faces.frame[of_track]].tolist()) for of_track in rows]
    weight = np.array([prominence(faces.scale_px[of_track]) for of_track in rows])
    people: list[list[int]] = []
    for track in np.argsort(-weight, kind="stable").tolist():
        best, nearest = None, np.inf
        for person in people:
            if any(frames[track] & frames[other] for other in person):
                continue
            beside = any(shots[track] & shots[other] for other in person)
            mean = vectors[person].mean(axis=0)
            distance = 1 - float(vectors[track] @ mean / np.linalg.norm(mean))
            if distance < min(nearest, limits[beside]):
                best, nearest = person, distance
        if best is None:
            people.append([track])
        else:
            best.append(track)
    people.sort(key=lambda person: -float(weight[person].sum()))
    found = np.zeros(len(vectors), dtype=np.int64)
    for number, person in enumerate(people):
        found[person] = number
    return found


def directions(faces: Faces, embed: Embed | None) -> Float:
    """Return a unit vector for each track that says who it is, [K, D]."""
    if embed is not None:
        vectors = np.stack([embed(portrait) for portrait in faces.portrait])
    else:
        first = [int(np.argmax(faces.track == track)) for track in range(len(faces.portrait))]
        vectors = faces.alpha[first]
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float = (vectors / np.maximum(norm, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit


def prominence(scale_px: Float) -> float:
    """Return area times duration of a face's rows, [rows] pixels per cm, in any unit."""
    return float(np.square(scale_px, dtype=np.float64).sum())


def largest_in_each_shot(faces: Faces, person: Integers) -> Facts:
    """Return the rows of the person who is seen largest and longest in each shot, [F].

    Args:
        faces: All tracks.
        person: Of each track, [K].
    """
    who, shot = person[faces.track], faces.shot[faces.frame]
    chosen = np.zeros(len(faces.frame), dtype=np.bool_)
    for number in np.unique(shot):
        here = shot == number
        there = np.unique(who[here])
        sizes = [prominence(faces.scale_px[here & (who == one)]) for one in there]
        chosen |= here & (who == there[int(np.argmax(sizes))])
    return chosen


def of_rows(faces: Faces, chosen: Facts) -> Analysis:
    """Return the analysis that some rows make, at most one a frame; the others are no face.

    Args:
        faces: All tracks.
        chosen: Which rows, [F].
    """
    frame = faces.frame[chosen]

    def spread(rows: Float) -> Float:
        """Give every frame a row."""
        array = np.zeros((len(faces), *rows.shape[1:]), dtype=np.float32)
        array[frame] = rows[chosen]
        return array

    valid = np.zeros(len(faces), dtype=np.bool_)
    valid[frame] = True
    covered = np.zeros(len(faces), dtype=np.bool_)
    covered[frame] = faces.covered[chosen]
    return Analysis(
        alpha=spread(faces.alpha),
        beta=spread(faces.beta),
        rotation=spread(faces.rotation),
        translation_px=spread(faces.translation_px),
        scale_px=spread(faces.scale_px),
        shot=faces.shot,
        valid=valid,
        lip_aperture=spread(faces.lip_aperture),
        covered=covered,
    )


def person_of_frames(faces: Faces, person: Integers, chosen: Facts) -> Integers:
    """Return who is seen in each frame, [T]; ``NOBODY`` where no row is chosen."""
    who = np.full(len(faces), NOBODY, dtype=np.int64)
    who[faces.frame[chosen]] = person[faces.track[chosen]]
    return who
