"""What a report draws of one keyframe: arrays of a finished arm, without a picture in them.

The file holds what pretraining saw (cameras, superpixels, pairs), what it made of it (colours of the joint
embedding, similarity to one point) and, where a probe ran, its predictions beside the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.atomic import atomic_write
from lidardistill.data.collate import collate_voxels
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.label_kinds import open_labels, point_classes
from lidardistill.datasets.labelled import IGNORED
from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint
from lidardistill.engine.run_folder import CHECKPOINTS
from lidardistill.methods.base import Method
from lidardistill.methods.of_run import method_of, recipe_of
from lidardistill.showcase.joint_pca import fit_joint_pca, position_r2
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.rows import pretraining_rows, spread
from lidardistill.tasks.runs import read_run
from lidardistill.tasks.segment.config import ProbeConfig
from lidardistill.tasks.segment.probe import calibrate_batchnorm
from lidardistill.tasks.segment.sample import ScanRecipe

SHOWCASE_FILE = "showcase.npz"
CALIBRATION_SCANS = 8
MAX_CANDIDATES = 32
MIN_POINTS = 20
QUERY_CLASSES = ("car", "pedestrian", "truck", "bus", "vegetation", "manmade")
"""Classes for the similarity map: the first that is present, near enough and seen by a camera."""


def showcase_of_arm(arm: Path) -> Path:
    """Write `showcase.npz` into an arm folder of `engine.experiment.run_arm`.

    Raises:
        FileNotFoundError: the arm has no pretraining run.
        ValueError: the run has no finished checkpoint.
    """
    probe = arm / "probe"
    return write_showcase(
        read_run(arm / "pretrain", PretrainConfig),
        arm / "pretrain",
        probe if (probe / "config.yaml").is_file() else None,
        arm / SHOWCASE_FILE,
    )


def write_showcase(
    config: PretrainConfig, run: Path, probe_run: Path | None, out: Path, *, row: int | None = None
) -> Path:
    """Run student and teacher of a pretraining run on one keyframe and store what a report draws of it.

    Args:
        config: of the run.
        run: pretraining run with a finished checkpoint.
        probe_run: probe of its backbone, whose predictions are read; None for none.
        out: the .npz file. V views of h x w pixels, N points, P pairs:
            channels (V,); images (V, h, w, 3) uint8; superpixels (V, h, w) int32; superpixel_mask (V, h, w)
            bool; points (N, 4) float32, LiDAR frame; lidar2ego (4, 4); pairing_points (P,); pairing_images
            (P, 3); depth (P,) float16, metres; pca_points (N, 3) uint8; pca_images (V, h, w, 3) uint8;
            point_mask (N,) bool, False where the student saw nothing; position_r2 (3,); query, row in
            `points`; similarity_points (N,) and similarity_images (V, h, w) float16 cosines to it; classes;
            where they are known, labels and predictions (N,) uint8 0..16; sample_token, scene, split,
            teacher.
        row: index row of the keyframe; by default the one of the validation split that shows most classes.

    Returns:
        `out`.

    Raises:
        ValueError: the run has no finished checkpoint, or its method no teacher.
    """
    index = open_source(config.data)
    split, rows = validation_rows(config, probe_run, index)
    if row is None:
        row = _richest(index, rows)
    method = load_method(config, run)
    _calibrate(method, config, index)
    recipe = recipe_of(config).still()
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
        "superpixels": sample.superpixels,
        "superpixel_mask": sample.superpixel_mask,
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
        "split": np.array(split),
        "teacher": np.array(config.teacher.kind if config.teacher is not None else "none"),
    }
    if labels is not None:
        arrays["labels"] = labels
    predictions = None if probe_run is None else _predictions(probe_run, split, index, row)
    if predictions is not None and frame.kept is not None:
        predictions = predictions[frame.kept]
    if predictions is not None and len(predictions) == len(frame.points):
        arrays["predictions"] = predictions
    with atomic_write(out) as stream:
        np.savez_compressed(stream, **arrays)
    return out


def load_method(config: PretrainConfig, run: Path) -> Method:
    """The method of a run with the weights of its newest checkpoint, in eval mode on the CPU.

    Raises:
        ValueError: as `load_trained`.
    """
    method = method_of(config)
    load_trained(method, run)
    return method


def load_trained(method: nn.Module, run: Path) -> None:
    """Fill a method from the newest checkpoint of its run, and set it to eval mode.

    Raises:
        ValueError: the run has no finished checkpoint, or one of another model.
    """
    path = latest_checkpoint(run / CHECKPOINTS)
    if path is None:
        raise ValueError(
            f"{run} has no finished checkpoint: run `lidardistill pretrain` again to continue it"
        )
    state = load_checkpoint(path)["state"]
    weights = {**state["model"], **state["ema"].get("average", {})}
    # Buffers that a checkpoint carries and `load_state_dict` does not know: they follow from the config.
    given = dict(method.named_buffers()).keys() - method.state_dict().keys()
    weights = {name: value for name, value in weights.items() if name not in given}
    # The frozen teacher is not in a checkpoint; everything else must be.
    missing, unexpected = method.load_state_dict(weights, strict=False)
    # Parameters that two methods share stand in a checkpoint once.
    stored = {id(value) for name, value in method.state_dict(keep_vars=True).items() if name in weights}
    named = method.state_dict(keep_vars=True)
    missing = [name for name in missing if id(named[name]) not in stored]
    wrong = [*(name for name in missing if "teacher" not in name.split(".")), *unexpected]
    if wrong:
        raise ValueError(f"checkpoint {path} is of another model; it differs in {', '.join(wrong[:5])}")
    method.eval()


def choose_query(
    points: np.ndarray,
    pairing_points: np.ndarray,
    depth: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str] = (),
) -> int:
    """The point that a similarity map is drawn for: well inside an object that a camera sees from near.

    Args:
        points: (N, >=3) LiDAR frame, metres.
        pairing_points: (P,) rows in `points`.
        depth: (P,) metres.
        labels: (N,) 0 (ignored) or place in `names`, or None: then any point above the ground will do.
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


def _calibrate(method: Method, config: PretrainConfig, index: Source) -> None:
    """BatchNorm statistics of scans that are not augmented, as the probe has them."""
    rows = spread(pretraining_rows(config.data, index), CALIBRATION_SCANS)
    recipe = ScanRecipe(config.student.scan_input(config.voxels))
    scans = Keyframes(index, rows, recipe, seed=0, max_substitutes=0)
    calibrate_batchnorm(method.student, (collate_voxels([scans[(0, i, i)].voxels]) for i in range(len(rows))))


def validation_rows(config: PretrainConfig, probe_run: Path | None, index: Source) -> tuple[str, np.ndarray]:
    """The split of the probe, else one that pretraining did not see, else its own; and its rows."""
    if probe_run is not None:
        split = read_run(probe_run, ProbeConfig).data.val_split
        return split, index.rows_of_split(split)
    present = index.splits()
    for split in ("mini_val", "slidr_val", "val"):
        if present.get(split, (0, 0))[0] and split != config.data.split:
            return split, index.rows_of_split(split)
    return config.data.split, pretraining_rows(config.data, index)


def _richest(index: Source, rows: np.ndarray) -> int:
    """The keyframe that shows most classes; the middle one where there are no labels."""
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
