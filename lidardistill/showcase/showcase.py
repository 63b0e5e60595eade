"""Arrays for the camera pictures of a report: one keyframe of a run that compares points with pixels.

The file holds the inputs (cameras, superpixels, pairs), the features (colours of the joint embedding,
similarity to one point) and, after a probe, its predictions beside the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.base import Source
from lidardistill.datasets.label_kinds import open_labels, point_classes
from lidardistill.datasets.labelled import IGNORED
from lidardistill.methods.of_run import recipe_of
from lidardistill.showcase.joint_pca import fit_joint_pca, position_r2
from lidardistill.showcase.trained import Trained, store
from lidardistill.tasks.rows import spread

SHOWCASE_FILE = "showcase.npz"
MAX_CANDIDATES = 32
MIN_POINTS = 20
QUERY_CLASSES = ("car", "pedestrian", "truck", "bus", "vegetation", "manmade")
"""Classes of the query point, best first: the first class with enough points near a camera is taken."""


def showcase_of_arm(arm: Path) -> Path:
    """Write `showcase.npz` into an arm folder of `demo.run.run_arms`.

    Raises:
        FileNotFoundError: the arm has no pretraining run.
        ValueError: the run has no finished checkpoint.
    """
    probe = arm / "probe"
    run = arm / "pretrain"
    trained = Trained.open(run, probe if (probe / "config.yaml").is_file() else None)
    return write_showcase(trained, arm / SHOWCASE_FILE)


def write_showcase(trained: Trained, out: Path, *, row: int | None = None) -> Path:
    """Run student and teacher on one keyframe, and store the arrays of its pictures.

    Args:
        trained: the run; predictions are read from its probe run, if it has one.
        out: the .npz file. V views of h x w pixels, N points, P pairs:
            channels (V,); images (V, h, w, 3) uint8; superpixels (V, h, w) int32 and superpixel_mask
            (V, h, w) bool, of methods with superpixels; points (N, 4) float32, LiDAR frame; lidar2ego (4, 4);
            pairing_points (P,); pairing_images (P, 3); depth (P,) float16, metres; pca_points (N, 3) uint8;
            pca_images (V, h, w, 3) uint8; point_mask (N,) bool, False for points without features;
            position_r2 (3,); query, row in `points`; similarity_points (N,) and similarity_images (V, h, w)
            float16, cosines to the query; classes; labels and predictions (N,) uint8 0..16, if they exist;
            sample_token, scene, split, teacher.
        row: index row of the keyframe; by default the one of the validation split with most classes.

    Returns:
        `out`.

    Raises:
        ValueError: the method compares no points with pixels.
        OSError: a file of the keyframe is missing.
    """
    config, index = trained.config, trained.index
    row = _richest(index, trained.rows) if row is None else row
    method = trained.method
    try:
        recipe = recipe_of(config).still()
    except NotImplementedError:
        raise ValueError("the method compares no points with pixels of one keyframe") from None
    sample = Keyframes(index, [row], recipe, seed=0, max_substitutes=0)[(0, 0, 0)]
    points_embedded, maps = method.joint_space(recipe.collate([sample]))
    frame = index.frame(row)
    labels = _labels(index, row)
    names = _class_names(index)
    if labels is not None and frame.kept is not None:
        labels = labels[frame.kept]
    views, rows_px, cols_px = sample.pairing_images.T
    seen = frame.points[sample.pairing_points, :3].astype(np.float64)
    to_cam = frame.lidar2cam[views]
    depth = (to_cam[:, 2, :3] * seen).sum(axis=1) + to_cam[:, 2, 3]

    size = (sample.images.shape[2], sample.images.shape[3])
    pixels = [_pixels(maps[view : view + 1], size) for view in range(len(maps))]
    pca = fit_joint_pca(
        points_embedded[sample.pairing_points],
        np.concatenate([pixels[v][rows_px[views == v], cols_px[views == v]] for v in range(len(pixels))]),
    )
    projected = pca.student(points_embedded)
    known = sample.voxels.point_mask
    query = choose_query(frame.points, sample.pairing_points, depth, labels, names)
    asked = points_embedded[query]
    arrays: dict[str, np.ndarray] = {
        "channels": np.array(frame.channels),
        "images": (sample.images.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8),
        "points": frame.points,
        "lidar2ego": frame.lidar2ego,
        "pairing_points": sample.pairing_points.astype(np.int32),
        "pairing_images": sample.pairing_images.astype(np.int16),
        "depth": depth.astype(np.float16),
        "point_mask": known,
        "pca_points": pca.rgb(projected),
        "pca_images": np.stack([pca.rgb(pca.teacher(view)) for view in pixels]),
        "position_r2": position_r2(projected[known], frame.points[known, :3]),
        "query": np.array(query),
        "similarity_points": (points_embedded @ asked).astype(np.float16),
        "similarity_images": np.stack([view @ asked for view in pixels]).astype(np.float16),
        "classes": np.array(names),
        "sample_token": np.array(frame.sample_token),
        "scene": np.array(frame.scene_name),
        "split": np.array(trained.split),
        "teacher": np.array(config.teacher.kind if config.teacher is not None else "none"),
    }
    if sample.superpixels is not None:
        arrays |= {"superpixels": sample.superpixels, "superpixel_mask": sample.superpixel_mask}
    if labels is not None:
        arrays["labels"] = labels
    predictions = None
    if trained.probe_run is not None:
        predictions = _predictions(trained.probe_run, trained.split, index, row)
    if predictions is not None and frame.kept is not None:
        predictions = predictions[frame.kept]
    if predictions is not None and len(predictions) == len(frame.points):
        arrays["predictions"] = predictions
    return store(out, arrays)


def choose_query(
    points: np.ndarray,
    pairing_points: np.ndarray,
    depth: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str] = (),
) -> int:
    """Choose the point whose similarity to all others is drawn: inside an object that is near a camera.

    Args:
        points: (N, >=3) LiDAR frame, metres.
        pairing_points: (P,) rows in `points`.
        depth: (P,) metres.
        labels: (N,) 0 (ignored) or place in `names`; None takes any point above the ground.
        names: of the classes.

    Returns:
        Row in `points`; the same arguments give the same row.
    """
    near = np.unique(pairing_points[(depth > 4) & (depth < 25)])
    if len(near) == 0:
        near = np.unique(pairing_points) if len(pairing_points) else np.arange(len(points))
    for name in QUERY_CLASSES if labels is not None else ():
        if name not in names:
            continue
        mine = near[labels[near] == names.index(name)]  # type: ignore[index]
        if len(mine) >= MIN_POINTS:
            near = mine
            break
    else:
        high = near[points[near, 2] > -1.0]  # the sensor stands 1.8 m above the road
        near = high if len(high) else near
    xyz = points[near, :3].astype(np.float64)
    candidates = np.linspace(0, len(near) - 1, min(len(near), 512)).round().astype(np.int64)
    distance = np.linalg.norm(xyz[candidates, None] - xyz[None], axis=2)
    return int(near[candidates[(distance < 0.8).sum(axis=1).argmax()]])


def _pixels(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(h, w, D) float32 unit features of every pixel of one view, upsampled as pretraining does."""
    fine = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
    return F.normalize(fine, dim=1)[0].permute(1, 2, 0).numpy()


def _richest(index: Source, rows: np.ndarray) -> int:
    """Row of the keyframe with most classes; the middle row if there are no labels."""
    best, most = int(rows[len(rows) // 2]), -1
    for row in spread(rows, MAX_CANDIDATES).tolist():
        labels = _labels(index, row)
        if labels is None:
            continue
        shown = int((np.bincount(labels, minlength=256)[1:] >= MIN_POINTS).sum())
        if shown > most:
            best, most = row, shown
    return best


def _labels(index: Source, row: int) -> np.ndarray | None:
    """(M,) uint8: 0 for ignored, else 1 + place in the judged classes; None without labels."""
    try:
        return _from_1(open_labels(index).points().read(row))
    except (ValueError, FileNotFoundError):
        return None


def _class_names(index: Source) -> tuple[str, ...]:
    """Names of the values of `_labels`."""
    try:
        return ("ignore", *point_classes(index.kind))
    except ValueError:
        return ("ignore",)


def _predictions(probe_run: Path, split: str, index: Source, row: int) -> np.ndarray | None:
    """Predictions of a probe in the same values, None if it wrote none."""
    judge = open_labels(index).point_judge()
    path = judge.prediction_file(probe_run, split, row)
    return _from_1(judge.read_prediction(path)) if path.is_file() else None


def _from_1(places: np.ndarray) -> np.ndarray:
    return np.where(places == IGNORED, 0, places + 1).astype(np.uint8)
