import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dubcli.errors import CheckpointError
from dubcli.geometry.morphable import INNER_LIP_RING, without_mouth_opening
from dubcli.training.canonical import METADATA, CanonicalFace, fields, read_canonical_face


def test_canonical_face_has_mediapipes_numbers(canonical_face: CanonicalFace) -> None:
    assert canonical_face.vertices.shape == (468, 3)
    assert canonical_face.triangles.shape == (898, 3)
    assert canonical_face.weight.shape == (468,)
    assert np.count_nonzero(canonical_face.weight) == 33
    assert canonical_face.vertices.dtype == canonical_face.weight.dtype == np.float32
    assert canonical_face.triangles.dtype == np.int64


def test_canonical_face_is_in_centimetres_with_the_published_first_vertices(
    canonical_face: CanonicalFace,
) -> None:
    # canonical_face_model.obj of MediaPipe begins with these two.
    np.testing.assert_allclose(canonical_face.vertices[0], [0, -3.406404, 5.979507], atol=1e-5)
    np.testing.assert_allclose(canonical_face.vertices[1], [0, -1.126865, 7.475604], atol=1e-5)
    np.testing.assert_allclose(np.ptp(canonical_face.vertices, axis=0)[:2], [15.5, 17], atol=1.5)


def test_triangles_make_a_disc_with_holes_for_the_eyes_at_most(
    canonical_face: CanonicalFace,
) -> None:
    triangles = canonical_face.triangles
    assert triangles.min() == 0
    assert triangles.max() == 467
    assert len(np.unique(triangles)) == 468
    assert all(len(set(t)) == 3 for t in triangles.tolist())
    edges = [frozenset((int(t[k]), int(t[k - 1]))) for t in triangles for k in range(3)]
    uses = {edge: edges.count(edge) for edge in set(edges)}
    assert set(uses.values()) <= {1, 2}


def test_mouths_opening_is_all_that_is_dropped(canonical_face: CanonicalFace) -> None:
    kept = without_mouth_opening(canonical_face.triangles)
    ring = set(INNER_LIP_RING)
    dropped = [t for t in canonical_face.triangles.tolist() if set(t) <= ring]
    assert len(kept) + len(dropped) == 898
    assert len(dropped) == len(ring) - 2  # the triangulation of a polygon
    assert not any(set(t) <= ring for t in kept.tolist())


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_fields_reads_varints_bytes_and_fixed32() -> None:
    message = (
        varint(1 << 3 | 0) + varint(300)
        + varint(2 << 3 | 2) + varint(3) + b"abc"
        + varint(40 << 3 | 5) + struct.pack("<f", 1.5)
        + varint(1 << 3 | 0) + varint(2**40)
    )  # fmt: skip
    expected = [(1, 300), (2, b"abc"), (40, struct.pack("<f", 1.5)), (1, 2**40)]
    assert list(fields(message)) == expected
    assert list(fields(b"")) == []


def test_wire_types_that_do_not_occur_are_refused() -> None:
    with pytest.raises(ValueError, match="wire type 1 at byte 1"):
        list(fields(varint(1 << 3 | 1) + bytes(8)))


def test_files_without_the_face_are_refused_by_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.task"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("something_else", b"")
    text = tmp_path / "text.task"
    text.write_text("no archive")
    for file in (empty, text, tmp_path / "missing.task"):
        with pytest.raises(CheckpointError, match=f"{file.name}: no face geometry"):
            read_canonical_face(file)
    assert METADATA.endswith("landmarks.binarypb")
