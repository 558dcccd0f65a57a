"""Reads MediaPipe's canonical face out of the tracker's model file.

Letters: V vertices (468), F triangles (898).

The ``.task`` file is a zip archive; ``geometry_pipeline_metadata_landmarks.binarypb`` in it is a
protocol buffer (mediapipe/tasks/cc/vision/face_geometry/proto): field 1 a Mesh3d, whose field 3
holds five floats a vertex (x, y, z, u, v) and field 4 the triangle indices; field 2, repeated, a
landmark's id (1) and Procrustes weight (2).
"""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubcli.errors import CheckpointError
from dubcli.records import Float, Integers

METADATA = "geometry_pipeline_metadata_landmarks.binarypb"
VERTEX_FLOATS = 5  # x, y, z, u, v
VARINT, BYTES, FIXED32 = 0, 2, 5  # wire types of protocol buffers


@dataclass(frozen=True, slots=True, eq=False)
class CanonicalFace:
    """MediaPipe's mean face."""

    vertices: Float  # [V, 3] cm
    triangles: Integers  # [F, 3]
    weight: Float  # [V] Procrustes weights, 0 for all but 33


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint's value and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of a protocol buffer message; fixed32 values as their 4 bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == BYTES:
            size, at = _varint(data, at)
        elif wire == FIXED32:
            size = 4
        else:
            raise ValueError(f"wire type {wire} at byte {at} does not occur in this file")
        yield number, data[at : at + size]
        at += size


def read_canonical_face(task: Path) -> CanonicalFace:
    """Return the canonical face of a ``face_landmarker.task`` file.

    Raises:
        CheckpointError: If the file holds no such metadata.
    """
    try:
        with zipfile.ZipFile(task) as archive:
            message = archive.read(METADATA)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{task}: no face geometry in it ({error}); restore the file"
        ) from error
    floats, indices = [], []
    weight = np.zeros(468, dtype=np.float32)
    for number, value in fields(message):
        if not isinstance(value, bytes):
            continue  # the input source, an enumeration
        if number == 1:
            for inner, content in fields(value):
                if inner == 3 and isinstance(content, bytes):
                    floats.append(struct.unpack(f"<{len(content) // 4}f", content))
                elif inner == 4:
                    indices.append(content)
        elif number == 2:
            pair = dict(fields(value))
            weight[int(pair.get(1, 0))] = struct.unpack("<f", bytes(pair[2]))[0]
    mesh = np.concatenate([np.array(f) for f in floats]).reshape(-1, VERTEX_FLOATS)[:, :3]
    triangles = np.array(indices, dtype=np.int64).reshape(-1, 3)
    return CanonicalFace(mesh.astype(np.float32), triangles, weight)
