"""One colour space for the features of the LiDAR network and of the image network.

Student and teacher share an embedding. Its three main directions become red, green and blue, for points and
pixels alike, so that matching features have the same colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

COMPONENTS = 3
_EDGES = (2.0, 98.0)  # percentiles that become 0 and 255: a few stray rows must not grey out all others


class JointPCA(NamedTuple):
    """Three directions of an embedding and how each becomes a colour.

    Attributes:
        axes: (3, D) float64 orthonormal directions; in each, the largest entry by magnitude is positive.
        student_mean, teacher_mean: (D,) float64. Each side is centred by its own mean, because contrastive
            training leaves a constant offset between the sides that would take the first direction.
        low, high: (3,) float64 values of the projections that become 0 and 255.
    """

    axes: np.ndarray
    student_mean: np.ndarray
    teacher_mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def student(self, rows: np.ndarray) -> np.ndarray:
        """(..., D) embeddings of the student to (..., 3) float64 projections."""
        return (np.asarray(rows, np.float64) - self.student_mean) @ self.axes.T

    def teacher(self, rows: np.ndarray) -> np.ndarray:
        """(..., D) embeddings of the teacher to (..., 3) float64 projections."""
        return (np.asarray(rows, np.float64) - self.teacher_mean) @ self.axes.T

    def rgb(self, projected: np.ndarray) -> np.ndarray:
        """(..., 3) projections to (..., 3) uint8; neither black nor white, so points show on both."""
        share = np.clip((projected - self.low) / np.maximum(self.high - self.low, 1e-12), 0, 1)
        return (255 * (0.06 + 0.86 * share)).round().astype(np.uint8)


def fit_joint_pca(student: np.ndarray, teacher: np.ndarray) -> JointPCA:
    """The directions in which both sides together vary most.

    Args:
        student: (K, D) embeddings of points.
        teacher: (K', D) embeddings of pixels, ideally the partners of the points. Both sides weigh the same.

    Returns:
        The directions: a pure function of the arguments, signs included.

    Raises:
        ValueError: a side has no row, widths differ, or there are fewer than three channels.
    """
    student, teacher = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    if student.ndim != 2 or teacher.ndim != 2 or student.shape[1] != teacher.shape[1]:
        raise ValueError(f"expected (K, D) rows of one width, got {student.shape} and {teacher.shape}")
    if min(len(student), len(teacher)) == 0 or student.shape[1] < COMPONENTS:
        raise ValueError(
            f"expected rows on both sides and at least {COMPONENTS} channels, "
            f"got {student.shape} and {teacher.shape}"
        )
    means = student.mean(axis=0), teacher.mean(axis=0)
    centred = [side - mean for side, mean in zip((student, teacher), means, strict=True)]
    # Of a symmetric matrix: the same on every machine up to rounding, and D x D however many rows there are.
    covariance = sum(side.T @ side / len(side) for side in centred)
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :COMPONENTS].T
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(COMPONENTS), largest])[:, None]
    edges = [np.percentile(side @ axes.T, _EDGES, axis=0) for side in centred]
    low, high = np.mean([edge[0] for edge in edges], axis=0), np.mean([edge[1] for edge in edges], axis=0)
    return JointPCA(axes, *means, low, high)


def position_r2(projected: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Share of each projection that a linear function of the position explains.

    Args:
        projected: (N, 3).
        xyz: (N, 3) metres.

    Returns:
        (3,) float64 R2 in 0..1; 0 for a constant projection. Near 1, the colours show the position of a point
        and not its class.
    """
    inputs = np.column_stack([np.asarray(xyz, np.float64), np.ones(len(xyz))])
    centred = projected - projected.mean(axis=0)
    residual = centred - inputs @ np.linalg.lstsq(inputs, centred, rcond=None)[0]
    total = (centred**2).sum(axis=0)
    alive = total > 1e-12
    return np.where(alive, 1 - (residual**2).sum(axis=0) / np.where(alive, total, 1.0), 0.0).clip(0, 1)


class MapColors(NamedTuple):
    """Feature maps as colours, and the parts of them that position or upsampling explain.

    Attributes:
        colors: (H, W, 3) uint8 of each map.
        position_r2: (3,) of the first map, as `position_r2` has it.
        parity_r2: (3,) share of the first map's projections that even and odd rows and columns explain:
            transposed convolutions leave such a chessboard pattern.
    """

    colors: list[np.ndarray]
    position_r2: np.ndarray
    parity_r2: np.ndarray


def map_colors(bevs: Sequence[np.ndarray], occupied: np.ndarray, xy: np.ndarray) -> MapColors:
    """Colours of one feature map, or of two that share their channels, in the same three directions.

    Args:
        bevs: one or two maps (C, H, W), any scale: cells are brought to unit length.
        occupied: (H, W) bool, cells that directions and shares are taken from.
        xy: (H, W, 2) centres of the cells, metres.

    Raises:
        ValueError: no cell is occupied, or the maps differ in shape.
    """
    if len(bevs) not in (1, 2) or len({bev.shape for bev in bevs}) != 1:
        raise ValueError(
            f"map_colors: expected one or two maps of one shape, got {[bev.shape for bev in bevs]}"
        )
    cells = [np.moveaxis(bev, 0, -1).astype(np.float64) for bev in bevs]
    cells = [cell / np.maximum(np.linalg.norm(cell, axis=-1, keepdims=True), 1e-12) for cell in cells]
    pca = fit_joint_pca(cells[0][occupied], cells[-1][occupied])
    projected = [pca.student(cells[0]), *(pca.teacher(cell) for cell in cells[1:])]
    row, column = np.indices(occupied.shape)
    parity = np.stack([row % 2, column % 2, row % 2 * (column % 2)], axis=-1)
    shown = projected[0][occupied]
    return MapColors(
        [pca.rgb(one) for one in projected],
        position_r2(shown, xy[occupied]),
        position_r2(shown, parity[occupied]),
    )
