"""Arrays for the pictures from above of a report: one keyframe of a detection or pretraining run.

Both give the colours of a feature map and the regions found without labels. A detection run also gives its
detections beside the true boxes; of a pretraining run no box is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lidardistill.data.camera_input import CameraInput, read_cameras
from lidardistill.data.collate import collate_voxels
from lidardistill.data.frame import Frame
from lidardistill.data.images import image_key, read_image
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.engine.run_folder import run_values
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.regions.superpixels.scaling import reduce_by_area
from lidardistill.regions.sweep.clusters import propose_regions
from lidardistill.showcase.joint_pca import map_colors
from lidardistill.showcase.trained import Trained, store
from lidardistill.tasks.detect.batches import still_keyframes
from lidardistill.tasks.detect.bev_fusion import on_grid
from lidardistill.tasks.detect.build import NUM_CLASSES, load_detector
from lidardistill.tasks.detect.center.groups import decode_groups
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.runs import read_run

BEV_SHOWCASE_FILE = "bev_showcase.npz"
MAX_IMAGE_WIDTH = 800


def write_bev_showcase(run: Path, *, row: int | None = None, trained: Trained | None = None) -> Path:
    """Run the network of a finished run on one keyframe, and store the arrays of its pictures from above.

    Args:
        run: folder of a detection or pretraining run.
        row: index row of the keyframe; by default the middle one of the split to show, for a detector the one
            with most classes of the split that scores it.
        trained: the pretraining run, if it is loaded already.

    Returns:
        `bev_showcase.npz` in `run`. V views of h x w pixels, N points, a map of H x W cells:
            channels (V,); images (V, h, w, 3) uint8; lidar2cam, cam2img (V, 4, 4) to these images;
            points (N, 4) float32, LiDAR frame; lidar2ego (4, 4); region (N,) int32, region_mask, ground_mask
            (N,) bool; grid (5,) x_min, y_min, cell size in metres, H, W; occupied (H, W) bool;
            map_names (K,) and maps (K, H, W, 3) uint8; position_r2, parity_r2 (3,); of a detector also
            classes, boxes (n, 9), scores, labels (n,), true_boxes (m, 9), true_labels (m,), LiDAR frame;
            sample_token, scene, split.

    Raises:
        FileNotFoundError: the run has not finished, or its data are missing.
        ValueError: the run has no network to show.
    """
    verb = run_values(run).get("verb")
    if verb == "detect":
        arrays = _of_detector(run, row)
    elif verb == "pretrain":
        arrays = _of_pretraining(Trained.open(run) if trained is None else trained, row)
    else:
        raise ValueError(f"{run} is a {verb} run: expected one of detect or pretrain")
    return store(run / BEV_SHOWCASE_FILE, arrays)


def _of_detector(run: Path, row: int | None) -> dict[str, Any]:
    config = read_run(run, DetectConfig)
    index = open_source(config.data)
    detector = load_detector(config, run)
    table = open_labels(index).boxes()
    if row is None:
        rows = index.rows_of_split(config.data.eval_split)
        row = int(rows[table.classes_present(rows, min_points=1).sum(axis=1).argmax()])
    (batch,) = still_keyframes(config, index, np.array([row]), torch.device("cpu"))
    with torch.no_grad():
        bev = detector.bev(batch.voxels, batch.camera_inputs())
        (found,) = decode_groups(
            detector.head(bev),
            num_classes=NUM_CLASSES,
            grid=detector.grid,
            score_threshold=config.head.score_threshold,
            max_boxes=config.head.max_boxes,
        )
    truth = table.read(row)
    seen = truth.take(truth.num_lidar_pts + truth.num_radar_pts >= 1)
    return {
        **_keyframe(index, row, config.data.eval_split),
        **_maps([("what the head reads", bev[0])], detector.grid, index.frame(row).points),
        "classes": np.array(table.classes),
        "boxes": found.boxes.numpy(),
        "scores": found.scores.numpy(),
        "labels": found.labels.numpy(),
        "true_boxes": seen.boxes,
        "true_labels": seen.labels,
    }


def _of_pretraining(trained: Trained, row: int | None) -> dict[str, Any]:
    config, index = trained.config, trained.index
    row = int(trained.rows[len(trained.rows) // 2]) if row is None else row
    frame = index.frame(row)
    scan = config.student.scan_input(config.voxels).read(frame.points, lidar2ego=frame.lidar2ego)
    with torch.no_grad():
        shown = trained.method.shown_maps(
            collate_voxels([scan]), torch.from_numpy(frame.points[:, :2]), _cameras(config, index, frame)
        )
        grid = shown[0].grid
        named = []
        for name, bev, own_grid, head in shown:
            on_one_grid = bev[None] if own_grid == grid else on_grid(bev[None], own_grid, grid)[0]
            named.append((name, on_one_grid[0] if head is None else _projected(head, on_one_grid)))
    return {**_keyframe(index, row, trained.split), **_maps(named, grid, frame.points)}


def _cameras(config: PretrainConfig, index: Source, frame: Frame) -> dict[str, Any] | None:
    """The images of a keyframe as `CameraBev` reads them, not augmented; None for methods without cameras."""
    if not config.method.sees_cameras:
        return None
    settings = CameraInput(config.data.augment.image_size, images=config.data.images)
    keys = tuple(image_key(path, index.dataroot) for path in frame.image_paths)
    images, cam2img = read_cameras(frame, settings, keys)
    return {
        "images": torch.from_numpy(images),
        "lidar2img": torch.from_numpy(cam2img @ frame.lidar2cam),
        "view_sample": torch.zeros(len(images), dtype=torch.int64),
        "batch_size": 1,
    }


def _projected(head: nn.Module, bev: Tensor) -> Tensor:
    """Apply a head to every cell of a map: (1, C, H, W) to (D, H, W)."""
    rows = head(bev[0].flatten(1).T)
    return rows.T.unflatten(1, bev.shape[2:])


def _maps(named: Sequence[tuple[str, Tensor]], grid: BevGrid, points: np.ndarray) -> dict[str, Any]:
    cell, inside = grid.cells(torch.from_numpy(points[:, :2]))
    occupied = np.zeros(grid.num_cells, bool)
    occupied[cell[inside].numpy()] = True
    occupied = occupied.reshape(grid.height, grid.width)
    centres = grid.centres(torch.arange(grid.num_cells)).numpy().reshape(grid.height, grid.width, 2)
    shown = map_colors([bev.float().numpy() for _, bev in named], occupied, centres)
    for (_, bev), colors in zip(named, shown.colors, strict=True):
        colors[~bev.bool().any(dim=0).numpy()] = 255  # a cell without features is white
    return {
        "grid": np.array([grid.x_min, grid.y_min, grid.cell_size, grid.height, grid.width]),
        "occupied": occupied,
        "map_names": np.array([name for name, _ in named]),
        "maps": np.stack(shown.colors),
        "position_r2": shown.position_r2,
        "parity_r2": shown.parity_r2,
    }


def _keyframe(index: Source, row: int, split: str) -> dict[str, Any]:
    """Points, regions, and images no wider than a page shows."""
    frame = index.frame(row)
    images, cam2img = [], []
    for path, matrix in zip(frame.image_paths, frame.cam2img, strict=True):
        image = read_image(path)
        factor = -(-image.shape[1] // MAX_IMAGE_WIDTH)
        if factor > 1:
            image = reduce_by_area(image, factor)
        # Pixel (r, c) of the smaller image is centred at (r + 0.5) * factor - 0.5 of the larger one.
        shrink = np.diag([1 / factor, 1 / factor, 1.0, 1.0])
        shrink[:2, 2] = 0.5 / factor - 0.5
        images.append(image)
        cam2img.append(shrink @ matrix)
    proposals = propose_regions(frame.points)
    return {
        "channels": np.array(frame.channels),
        "images": np.stack(images),
        "lidar2cam": frame.lidar2cam,
        "cam2img": np.stack(cam2img),
        "points": frame.points,
        "lidar2ego": frame.lidar2ego,
        "region": proposals.region,
        "region_mask": proposals.region_mask,
        "ground_mask": proposals.ground_mask,
        "sample_token": np.array(frame.sample_token),
        "scene": np.array(frame.scene_name),
        "split": np.array(split),
    }
