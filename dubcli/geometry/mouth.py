"""Pictures of the mouth, as the sync experts see them.

Letters: V vertices (468), S crop size (256), h, w size of a mouth picture.
"""

import cv2
import numpy as np
import torch

from dubcli.geometry.crop import crop_for_head, cut_out
from dubcli.geometry.fitting import to_head_space
from dubcli.geometry.morphable import MorphableModel
from dubcli.records import Bytes, Crop, Float

MOUTH_HEIGHT, MOUTH_WIDTH = 48, 64  # of a picture
CROP_PX = 2  # pixels of the crop in one of the picture
# Rows and columns of the crop that a picture shows: from below the nose to the chin.
MOUTH_ROWS = (116, 116 + CROP_PX * MOUTH_HEIGHT)
MOUTH_COLUMNS = (64, 64 + CROP_PX * MOUTH_WIDTH)


def head_crop(landmarks_px: Float, model: MorphableModel) -> Crop:
    """Return the crop of a head from one frame alone.

    The pose is the similarity that takes the mean face's stable points (around eyes and nose) to
    the landmarks, so that neither mouth nor jaw moves the crop.

    Args:
        landmarks_px: [V, 3].
        model: The basis; its mean and alignment weights are read.
    """
    _, rotation, translation_px, scale_px = to_head_space(
        torch.from_numpy(landmarks_px)[None], model.mean, model.alignment_weight
    )
    return crop_for_head(rotation[0].numpy(), translation_px[0].numpy(), float(scale_px[0]))


def mouth_picture(rgb: Bytes, crop: Crop, *, margin: int = 0) -> Bytes:
    """Return the grey picture of the mouth in a frame, [H, W, 3] -> [h, w].

    Args:
        rgb: The frame.
        crop: Of the head.
        margin: How many pixels more to show on each side, at most ``MOUTH_COLUMNS[0] / 2``.
    """
    reach = CROP_PX * margin
    picture = cut_out(rgb, crop)[
        MOUTH_ROWS[0] - reach : MOUTH_ROWS[1] + reach,
        MOUTH_COLUMNS[0] - reach : MOUTH_COLUMNS[1] + reach,
    ]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    size = (MOUTH_WIDTH + 2 * margin, MOUTH_HEIGHT + 2 * margin)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
