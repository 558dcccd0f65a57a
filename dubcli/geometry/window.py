"""What the renderer sees of a crop: a fixed window, its PNCC and its masks.

Letters: V vertices (468), L lower-face vertices, H, W window size, S crop size (256).
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from dubcli.geometry.camera import project
from dubcli.geometry.crop import (
    CROP_SIZE,
    FACE_DILATION,
    LEAST_SHARE,
    Detail,
    FineDetail,
    chained,
    detail_share,
    face_mask,
    hull_mask,
    lip_mask,
    transform,
)
from dubcli.geometry.morphable import (
    INNER_LIP_RING,
    MorphableModel,
    lip_gap,
    lower_face_indices,
    lower_face_weight,
    vertices,
)
from dubcli.geometry.pncc import PnccRenderer
from dubcli.geometry.teeth import (
    CHIN_VERTICES,
    TEETH_DEPTH_CM,
    MouthPicture,
    TeethPlace,
    motions,
)
from dubcli.records import Analysis, Bytes, Crop, Float

# Rows and columns of the crop that the renderer works on: all that the face mask of a head that
# looks forward can reach. Of a turned head the far cheek is cut.
WINDOW_ROWS = (88, 256)
WINDOW_COLUMNS = (16, 240)
ROWS, COLUMNS = slice(*WINDOW_ROWS), slice(*WINDOW_COLUMNS)
HEIGHT, WIDTH = WINDOW_ROWS[1] - WINDOW_ROWS[0], WINDOW_COLUMNS[1] - WINDOW_COLUMNS[0]
CORNER_PX = np.array([WINDOW_COLUMNS[0], WINDOW_ROWS[0]], dtype=np.float32)
_INTO = np.column_stack([np.eye(2), -CORNER_PX])  # from the crop to the window
_OUT_OF = np.column_stack([np.eye(2), CORNER_PX])
HULL_WEIGHT = 0.5  # vertices that follow the mouth at least this much span the face mask
INNER_MOUTH_DILATION = 2  # pixels around the inner lips on which no texture is carried over
MOTION_SIGMA = 1.5  # pixels: the motion field has no edge at the jaw line
CHIN, UPPER_LIP = 152, 13  # MediaPipe's vertices: the chin's lowest, the upper inner lip's middle
OUTLINE_PX = 6
REFERENCE_DILATION = 16  # pixels by which a face reference's mask reaches into neck and collar


def outline_px(here: Float, there: Float) -> int:
    """Return by how much more of the source is replaced, because its chin has gone up.

    A chin's outline lies a little outside its mesh, the more the wider the mouth is open, and would
    stay behind as a line. Half of the chin's way, up to ``OUTLINE_PX``; 0 where it stays or falls.

    Args:
        here: The source's mesh in the crop, [V, 3] pixels.
        there: The target's, [V, 3] pixels.
    """
    down = here[CHIN, :2] - here[UPPER_LIP, :2]
    rise = float((here[CHIN, :2] - there[CHIN, :2]) @ down / max(np.linalg.norm(down), 1e-6))
    return round(min(max(rise / 2, 0), OUTLINE_PX))


class WindowDrawer:
    """Draws meshes in the window of a crop.

    Args:
        model: The basis.
    """

    def __init__(self, model: MorphableModel) -> None:
        """Prepare the PNCC's colours and the lower face's vertices."""
        self.model = model
        self._pncc = PnccRenderer(model.mean.numpy(), model.triangles)
        weight = lower_face_weight(model.mean).numpy()
        self.hull = np.flatnonzero(weight >= HULL_WEIGHT)
        self.lower = lower_face_indices(model.mean)  # [L]
        self._weight = weight[self.lower, None]
        self._expression = model.expression[:, self.lower].reshape(len(model.expression), -1)
        self._ring = np.searchsorted(self.lower, INNER_LIP_RING)

    def source_mesh(self, analysis: Analysis, t: int) -> Float:
        """Return the fitted mesh of frame t, [V, 3] cm, head space."""
        alpha, beta = torch.from_numpy(analysis.alpha[t]), torch.from_numpy(analysis.beta[t])
        mesh: Float = vertices(self.model, alpha, beta).numpy()
        return mesh

    def own_displacement(self, beta: Float) -> Float:
        """Return the lower face's own displacement {0, beta, 0}, [.., E] -> [.., L, 3] cm."""
        flat: Float = beta @ self._expression.numpy()
        return flat.reshape(*beta.shape[:-1], len(self.lower), 3)

    def gap(self, shape: Float) -> Float:
        """Return the signed opening of displaced neutral mean faces, [.., L, 3] -> [..] cm."""
        mean = self.model.mean
        mesh = mean.expand(*shape.shape[:-2], *mean.shape).clone()
        mesh[..., torch.from_numpy(self.lower), :] += torch.from_numpy(shape)
        opening: Float = lip_gap(mesh).numpy()
        return opening

    def mouth_distance(self, shape: Float, others: Float) -> Float:
        """Return how differently mouths are shaped, [L, 3] and [K, L, 3] cm -> [K] cm.

        The root mean square distance between the inner lips' rings of the displaced neutral face.
        """
        apart = others[:, self._ring] - shape[self._ring]
        distance: Float = np.sqrt(np.square(apart).sum(axis=-1).mean(axis=-1))
        return distance

    def target_mesh(self, mesh: Float, beta: Float, displacement: Float, amount: float) -> Float:
        """Return the source's mesh with the generated mouth.

        The mesh is displaced by (generated - fitted) in the lower face, with weights that fade
        towards the cheeks, rather than replaced: vtx^tgt = generated[lower] U source[upper] with a
        seam that moves smoothly.

        Args:
            mesh: The fitted mesh, [V, 3] cm.
            beta: Its expression, [E].
            displacement: Generated, [L, 3] cm from the neutral mean face.
            amount: 0 keeps the source's mouth, 1 puts the generated one.
        """
        moved = mesh.copy()
        change = displacement - self.own_displacement(beta)
        moved[self.lower] += amount * self._weight * change
        return moved

    def in_crop(self, mesh: Float, analysis: Analysis, t: int, crop: Crop) -> Float:
        """Project a mesh with frame t's pose into its crop, [V, 3] cm -> [V, 3] pixels."""
        projected = project(
            torch.from_numpy(mesh),
            torch.from_numpy(analysis.rotation[t]),
            torch.from_numpy(analysis.translation_px[t]),
            torch.tensor(float(analysis.scale_px[t])),
        )
        return transform(crop, projected.numpy())

    def teeth(self, analysis: Analysis, t: int, crop: Crop, points_px: Float) -> TeethPlace:
        """Return where the teeth of frame t's head are, its chin being where the mesh has it.

        Args:
            analysis: Its identity and pose are read.
            t: The frame.
            crop: Of its head.
            points_px: The mesh in the crop, the frame's own or the one to be rendered, [V, 3].
        """
        still = torch.zeros(analysis.beta.shape[1])
        rest = vertices(self.model, torch.from_numpy(analysis.alpha[t]), still).numpy()
        middle = (
            rest[list(INNER_LIP_RING)].mean(axis=0)
            - TEETH_DEPTH_CM * np.eye(3, dtype=np.float32)[2]
        )
        plane = np.concatenate([middle[None], middle + np.eye(3, dtype=np.float32)[:2]])
        chin = points_px[list(CHIN_VERTICES), :2].mean(axis=0)
        return TeethPlace(
            self.in_crop(plane, analysis, t, crop)[:, :2] - CORNER_PX, chin - CORNER_PX
        )

    def mouth_picture(
        self,
        picture: Bytes,
        points_px: Float,
        place: TeethPlace,
        fine: tuple[Float, Float] | None = None,
    ) -> MouthPicture:
        """Return a frame's mouth to be carried to other frames.

        Args:
            picture: Its crop, [S, S, 3].
            points_px: Its mesh there, [V, 3].
            place: Of its teeth.
            fine: What the frame shows there beyond the crop, from ``crop.finer``.
        """
        inside = 255 * hull_mask(points_px[list(INNER_LIP_RING)], 0)
        return MouthPicture(np.dstack([picture, inside])[ROWS, COLUMNS], place, fine)

    def fine_details(
        self, mouths: Sequence[MouthPicture], place: TeethPlace, choice: Float
    ) -> list[FineDetail]:
        """Return what chosen mouths show beyond their crops, where it is to lie.

        Args:
            mouths: K of them.
            place: Of the teeth in the crop that is rendered.
            choice: How much of each shows, moved with the head and with the chin, [2 K, H, W].
        """
        found = []
        for mouth, shares in zip(mouths, choice.reshape(-1, 2, HEIGHT, WIDTH), strict=True):
            if mouth.fine is None:
                continue
            lacking, to_crop = mouth.fine
            for motion, share in zip(motions(mouth, place), shares, strict=True):
                if share.max() < LEAST_SHARE:
                    continue
                whole = np.zeros((CROP_SIZE, CROP_SIZE), np.float32)
                whole[ROWS, COLUMNS] = share
                moved = chained(chained(chained(to_crop, _INTO), motion), _OUT_OF)
                found.append(FineDetail(lacking, moved.astype(np.float32), whole))
        return found

    def pncc(self, points_px: Float) -> Float:
        """Return the window's PNCC, [V, 3] crop pixels -> [H, W, 3]."""
        shifted = points_px - np.array([WINDOW_COLUMNS[0], WINDOW_ROWS[0], 0], dtype=np.float32)
        return self._pncc.render(shifted, HEIGHT, WIDTH)

    def face_mask(self, points_px: Float, grow_px: int = 0) -> Bytes:
        """Return the lower face's mask in the crop, [V, 3] crop pixels -> [S, S]."""
        return face_mask(points_px, self.hull, FACE_DILATION + grow_px)

    def reference_mask(self, points_px: Float) -> Bytes:
        """Return where a face reference's pixels may be used: the lower face and around it."""
        return face_mask(points_px, self.hull, REFERENCE_DILATION)

    def lip_mask(self, points_px: Float) -> Bytes:
        """Return the lips' mask in the crop, [V, 3] crop pixels -> [S, S]."""
        return lip_mask(points_px)

    def detail(self, base: Float, there: Float, here: Float) -> Detail:
        """Return how the frame's own texture follows the mesh from ``here`` to ``there``.

        Lips carry theirs along like skin. Only the inside of the mouth, in either geometry, has
        none to carry: teeth and tongue come from the lip references.

        Args:
            base: The rendering of the source's own geometry, [S, S, 3], 0 to 255.
            there: The target's mesh in the crop, [V, 3] pixels.
            here: The source's, [V, 3] pixels.
        """
        motion, on_target = self._pncc.cover(there, CROP_SIZE, CROP_SIZE, (here - there)[:, :2])
        _, on_source = self._pncc.cover(here, CROP_SIZE, CROP_SIZE, here[:, :2])
        ring = list(INNER_LIP_RING)
        hidden = hull_mask(here[ring], INNER_MOUTH_DILATION)
        hidden |= hull_mask(there[ring], INNER_MOUTH_DILATION)
        share = detail_share(on_target.astype(np.uint8), on_source.astype(np.uint8), hidden)
        smooth = cv2.GaussianBlur(motion, (0, 0), MOTION_SIGMA).astype(np.float32)
        return Detail(base, share, smooth)
