"""Map segmentation: train a bird's-eye-view backbone and a map head, and score them as BEVFusion does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from lidardistill.atomic import atomic_write
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.datasets.labelled import MapLabels
from lidardistill.datasets.scan_layout import refuse_other_layout
from lidardistill.engine.batches import batches_once
from lidardistill.engine.distributed import pick_device
from lidardistill.engine.optim import build_optimizer
from lidardistill.engine.run_folder import METRICS_FILE, write_metrics
from lidardistill.engine.terms import Terms
from lidardistill.exchange.of_run import load_student
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.mapseg.loss import sigmoid_focal_loss
from lidardistill.tasks.mapseg.map_head import MapHead
from lidardistill.tasks.mapseg.model import MapSegmenter
from lidardistill.tasks.mapseg.sample import MapBatch, MapRecipe, MapSample
from lidardistill.tasks.mapseg.score import count_cells, map_scores
from lidardistill.tasks.rows import labelled_keyframes, rows_of_key, spread
from lidardistill.tasks.runs import check_out, load_model, read_run, save_model
from lidardistill.tasks.segment.probe import calibrate_batchnorm
from lidardistill.tasks.verb import Learning, Task, Work, execute

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SHOWN_FILE = "maps.npz"
NUM_SHOWN = 4


def mapseg(config: MapSegConfig, weights: str, run: Path, *, progress: bool = True) -> dict[str, Any]:
    """Train on a share of the scenes and score on `data.eval_split`.

    The same command continues an interrupted run.

    Args:
        config: resolved config.
        weights: weights of the backbone: a pretraining run, an exported file, or `random`.
        run: run folder; a finished one is read, not repeated.
        progress: show progress.

    Returns:
        Content of `metrics.json`: see `tasks.mapseg.score.map_scores`, and evaluator, split, num_keyframes;
        empty on processes other than the first.

    Raises:
        Interrupted: a signal stopped the run; its progress is saved.
    """
    return execute(MapSeg(config, weights), run, progress=progress).metrics


@dataclass(kw_only=True)
class MapSegWork(Work):
    """A map segmenter and its data."""

    model: MapSegmenter
    index: Source
    maps: MapLabels


class MapSeg(Task[MapSegWork]):
    """Map segmentation on a share of the scenes."""

    verb: ClassVar[str] = "mapseg"
    config: MapSegConfig

    def __init__(self, config: MapSegConfig, weights: str) -> None:
        self.config, self.trainer, self.schedule = config, config.trainer, config.schedule
        self.inputs = {"weights": weights}

    def build(self, fabric: Fabric) -> MapSegWork:
        config, data = self.config, self.config.data
        index = open_source(data)
        model = build_segmenter(config)
        load_student(model.backbone, self.inputs["weights"], config.voxels)
        model.to(fabric.device).train()
        maps = open_masks(config, index)
        judged = rows_of_key(index, "data.eval_split", data.eval_split)
        map_scans(config, index, judged, maps, train=False)  # opens their maps
        dataset = map_scans(config, index, labelled_keyframes(data, index), maps, train=True)
        refuse_other_layout(index, dataset.rows)

        def terms(batch: Any, step: int, diagnose: bool) -> Terms:
            return map_terms(model, batch, config.maps.classes, config.gamma)

        backbone = {
            "params": list(model.backbone.parameters()),
            "lr": config.lr_backbone * config.optimizer.lr,
        }
        optimizer = build_optimizer(config.optimizer, [backbone, {"params": list(model.head.parameters())}])
        learning = Learning(optimizer, terms, dataset)
        text = f"{len(dataset)} keyframes with maps of {data.train_split}"
        return MapSegWork(model=model, learning=learning, index=index, maps=maps, data=text)

    def finish(self, work: MapSegWork, steps: int, run: Path) -> dict[str, Any]:
        config, model, index = self.config, work.model, work.index
        device = next(model.parameters()).device
        if config.calibration_keyframes:
            some = spread(index.rows_of_split(config.data.train_split), config.calibration_keyframes)
            scans = still_maps(config, index, some, work.maps, device)
            voxels = (batch.voxels for batch in scans)
            calibrate_batchnorm(model, voxels, lambda network, voxels: network(voxels))
        save_model(model, run)
        return score_maps(config, model.eval(), index, config.data.eval_split, work.maps, device, run)


def evaluate_maps(run: Path, split: str, out: Path) -> dict[str, Any]:
    """Score a finished run on a split.

    Args:
        run: map segmentation run.
        split: such as val or mini_val.
        out: folder that gets `metrics.json` and `maps.npz`.

    Returns:
        Content of `metrics.json`.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: `run` is a run of another verb, or `out` holds another run.
    """
    check_out(run, out)
    config = read_run(run, MapSegConfig)
    device = pick_device(config.trainer.accelerator)
    model = load_model(build_segmenter(config), run).to(device)
    index = open_source(config.data)
    return score_maps(config, model, index, split, open_masks(config, index), device, out)


def build_segmenter(config: MapSegConfig) -> MapSegmenter:
    """Build backbone and head with seeded weights; the backbone equals the one pretraining starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = config.student.build(config.voxels)
        target = BevGrid.of_range(config.maps.bev_range, config.maps.cell_size)
        assert backbone.grid is not None, "the config admits backbones with maps only"
        return MapSegmenter(
            backbone, MapHead(backbone.out_channels, len(config.maps.classes), backbone.grid, target)
        )


def open_masks(config: MapSegConfig, index: Source) -> MapLabels:
    """Map labels that draw the masks; they read each map once."""
    maps = config.maps
    return open_labels(index).maps(bev_range=maps.bev_range, cell_size=maps.cell_size, classes=maps.classes)


def map_scans(
    config: MapSegConfig, index: Source, rows: np.ndarray, maps: MapLabels, *, train: bool
) -> Keyframes[MapSample]:
    """Scans with maps, augmented in training; opens all maps now, so that a missing map fails early."""
    maps.open_maps(sorted({index.scene_name(row) for row in rows.tolist()}))
    recipe = MapRecipe(
        config.student.scan_input(config.voxels),
        maps,
        config.data.augment if train else None,
        config.data.sweeps,
    )
    return Keyframes(index, rows, recipe, seed=config.seed, max_substitutes=8 if train else 0)


def map_terms(model: MapSegmenter, batch: MapBatch, classes: tuple[str, ...], gamma: float) -> Terms:
    """The focal loss of a batch, by class."""
    losses = sigmoid_focal_loss(model(batch.voxels), batch.masks, gamma=gamma)
    named = dict(zip(classes, losses.detach().unbind(), strict=True))
    return Terms(loss=losses.sum(), losses=named, counts={"voxels": len(batch.voxels.features)})


def still_maps(
    config: MapSegConfig, index: Source, rows: np.ndarray, maps: MapLabels, device: torch.device
) -> Iterator[MapBatch]:
    """Each scan once, in order, without augmentation, on the device."""
    dataset, data = map_scans(config, index, rows, maps, train=False), config.data
    return batches_once(dataset, device, batch_size=data.batch_size, num_workers=data.num_workers)


@torch.no_grad()
def score_maps(
    config: MapSegConfig,
    model: MapSegmenter,
    index: Source,
    split: str,
    maps: MapLabels,
    device: torch.device,
    out: Path,
) -> dict[str, Any]:
    """Score every keyframe of a split; write `metrics.json` and a few example keyframes."""
    rows = index.rows_of_split(split)
    shown = set(spread(rows, NUM_SHOWN).tolist())
    pictures: list[tuple[str, np.ndarray, np.ndarray]] = []
    counts: np.ndarray | int = 0
    for batch in still_maps(config, index, rows, maps, device):
        probabilities = model(batch.voxels).float().sigmoid()
        counts = counts + count_cells(probabilities, batch.masks)
        for place, row in enumerate(batch.rows):
            if row in shown:
                pictures.append(
                    (
                        batch.sample_tokens[place],
                        probabilities[place].cpu().numpy().astype(np.float16),
                        batch.masks[place].cpu().numpy(),
                    )
                )
    assert isinstance(counts, np.ndarray)
    scores = map_scores(counts, config.maps.classes)
    if scores["miou"] is None:
        raise ValueError(
            f"{config.data.dataroot} has no map of any of {', '.join(config.maps.classes)} around the "
            f"keyframes of {split}; is the map expansion there, or was the world written by an older version?"
        )
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        sample_tokens=np.array([token for token, _, _ in pictures]),
        probabilities=np.stack([p for _, p, _ in pictures]),
        masks=np.stack([m for _, _, m in pictures]),
        classes=np.array(config.maps.classes),
        bev_range=np.array(config.maps.bev_range),
    )
    with atomic_write(out / SHOWN_FILE) as stream:
        stream.write(buffer.getvalue())
    metrics = {
        **scores,
        "evaluator": "lidardistill, BEVFusion's protocol",
        "split": split,
        "version": config.data.version,
        "num_keyframes": len(rows),
    }
    write_metrics(out / METRICS_FILE, metrics)
    return metrics
