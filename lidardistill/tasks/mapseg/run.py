"""Map segmentation: train a bird's-eye-view backbone and a map head, and score them as BEVFusion does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lidardistill.atomic import atomic_write
from lidardistill.data.quarantine import Quarantine
from lidardistill.datasets.nuscenes.map_masks import MapMasks
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.batches import batches_once
from lidardistill.engine.data_wait import data_wait_advice
from lidardistill.engine.distributed import make_fabric, pick_device
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import LoopResult, loop_settings, to_the_end
from lidardistill.engine.manifest import Manifest
from lidardistill.engine.optim import build_optimizer, build_schedule
from lidardistill.engine.run_folder import (
    CONFIG_FILE,
    METRICS_FILE,
    claim_run,
    finished_metrics,
    write_metrics,
)
from lidardistill.engine.terms import Terms
from lidardistill.exchange.of_run import load_student
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.detect.batches import build_detection_augment
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.mapseg.loss import sigmoid_focal_loss
from lidardistill.tasks.mapseg.map_head import MapHead
from lidardistill.tasks.mapseg.model import MapSegmenter, load_segmenter
from lidardistill.tasks.mapseg.sample import MapBatch, MapScanDataset, collate_maps
from lidardistill.tasks.mapseg.score import count_cells, map_scores
from lidardistill.tasks.rows import labelled_keyframes, split_rows, spread
from lidardistill.tasks.segment.classifier import save_classifier
from lidardistill.tasks.segment.probe import calibrate_batchnorm
from lidardistill.tasks.training import train_labelled
from lidardistill.tasks.verb import read_run

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SHOWN_FILE = "maps.npz"
NUM_SHOWN = 4


def mapseg(config: MapSegConfig, weights: str, run: Path, *, progress: bool = True) -> dict[str, Any]:
    """Train on a share of the scenes and score on `data.eval_split`.

    The same command continues an interrupted run.

    Args:
        config: resolved config.
        weights: of the backbone: a pretraining run, an exported file, or `random`.
        run: run folder; a finished one is read, not repeated.
        progress: show progress.

    Returns:
        What `metrics.json` holds: see `evaluation.map_segmentation.map_scores`, and evaluator, split, num_keyframes;
        nothing on processes other than the first, which alone judges.

    Raises:
        Interrupted: a signal stopped it; what was done is kept.
    """
    fabric = make_fabric(config.trainer.accelerator, precision=config.trainer.precision)
    main = fabric.is_global_zero
    if main:
        claim_run(run, "mapseg", config, weights=weights)
    fabric.barrier()
    if (metrics := finished_metrics(run)) is not None:
        return metrics
    index = NuScenesIndex.open(config.data.dataroot, config.data.version)
    model = build_segmenter(config)
    load_student(model.backbone, weights, config.voxels)
    maps = open_masks(config)
    map_scans(
        config, index, split_rows(index, config.data.eval_split), maps, train=False
    )  # its maps must be there
    extra = {"weights": weights}
    manifest = Manifest(run / "manifest.json", seed=config.seed, extra=extra) if main else None
    dataset = map_scans(config, index, labelled_keyframes(config.data, index), maps, train=True)
    result = train_segmenter(config, model, dataset, run, fabric, progress=progress)
    to_the_end(result, manifest, run)
    if manifest is None:
        return {}
    device = fabric.device
    if config.calibration_keyframes:
        some = spread(split_rows(index, config.data.train_split), config.calibration_keyframes)
        scans = still_maps(config, index, some, maps, device)
        calibrate_batchnorm(model, (batch.voxels for batch in scans), lambda network, voxels: network(voxels))
    save_classifier(model, run)
    metrics = score_maps(config, model.eval(), index, config.data.eval_split, maps, device, run)
    manifest.finish(miou=metrics["miou"])
    return metrics


def evaluate_maps(run: Path, split: str, out: Path) -> dict[str, Any]:
    """Score a finished run on a split.

    Args:
        run: map segmentation run.
        split: such as val or mini_val.
        out: gets `metrics.json` and `maps.npz`.

    Returns:
        What `metrics.json` holds.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: it is a run of another verb, or `out` holds another run.
    """
    if out.resolve() != run.resolve() and (out / CONFIG_FILE).is_file():
        raise ValueError(f"{out} holds another run: name another --out")
    config = read_run(run, MapSegConfig)
    device = pick_device(config.trainer.accelerator)
    model = load_segmenter(build_segmenter(config), run).to(device)
    index = NuScenesIndex.open(config.data.dataroot, config.data.version)
    return score_maps(config, model, index, split, open_masks(config), device, out)


def build_segmenter(config: MapSegConfig) -> MapSegmenter:
    """Backbone and head with freshly drawn weights; the backbone's are those that pretraining starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = config.student.build(config.voxels)
        target = BevGrid.of_range(config.maps.bev_range, config.maps.cell_size)
        return MapSegmenter(
            backbone, MapHead(backbone.out_channels, len(config.maps.classes), backbone.grid, target)
        )


def open_masks(config: MapSegConfig) -> MapMasks:
    """What draws the masks; it reads each map once."""
    return MapMasks(config.data.dataroot, config.data.version, **config.maps.model_dump())


def map_scans(
    config: MapSegConfig, index: NuScenesIndex, rows: np.ndarray, maps: MapMasks, *, train: bool
) -> MapScanDataset:
    """Scans with maps, augmented in training; their maps are open, so that none is found missing later."""
    maps.open_maps(sorted({index.scene_name(row) for row in rows.tolist()}))
    return MapScanDataset(
        index,
        rows,
        config.student.scan_input(config.voxels),
        maps,
        seed=config.seed,
        train=train,
        augment=build_detection_augment(config.data.augment),
        num_sweeps=config.data.sweeps,
    )


def train_segmenter(
    config: MapSegConfig,
    model: MapSegmenter,
    dataset: MapScanDataset,
    run: Path,
    fabric: Fabric,
    *,
    progress: bool = True,
) -> LoopResult:
    """Minimise the sum over classes of the focal loss; the model ends as the last step, or the moving average, left it."""
    trainer, data = config.trainer, config.data
    model.to(fabric.device).train()
    backbone = {
        "params": list(model.backbone.parameters()),
        "lr": config.lr_backbone * config.optimizer.lr,
    }
    result = train_labelled(
        fabric,
        model,
        lambda batch: map_terms(model, batch, config.maps.classes, config.gamma),
        build_optimizer(config.optimizer, [backbone, {"params": list(model.head.parameters())}]),
        dataset,
        collate_maps,
        run,
        RunLogger(
            run,
            write=fabric.is_global_zero,
            progress=progress,
            label="mapseg",
            data_wait_advice=data_wait_advice(data.num_workers),
        ),
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        seed=config.seed,
        what="scans",
        epochs=trainer.epochs,
        max_steps=trainer.max_steps,
        settings_of=partial(loop_settings, trainer),
        schedule_of=partial(build_schedule, config.schedule),
        config=config.model_dump(mode="json"),
        quarantine=Quarantine(run / f"quarantine{fabric.global_rank or ''}.json", data.max_corrupt),
    )
    if result.ema is not None and not result.interrupted:
        result.ema.copy_to(model)
    return result


def map_terms(model: MapSegmenter, batch: MapBatch, classes: tuple[str, ...], gamma: float) -> Terms:
    """The focal loss of a batch, by class."""
    losses = sigmoid_focal_loss(model(batch.voxels), batch.masks, gamma=gamma)
    named = dict(zip(classes, losses.detach().unbind(), strict=True))
    return Terms(loss=losses.sum(), losses=named, counts={"voxels": len(batch.voxels.features)})


def still_maps(
    config: MapSegConfig, index: NuScenesIndex, rows: np.ndarray, maps: MapMasks, device: torch.device
) -> Iterator[MapBatch]:
    """Each scan once, in order, without augmentation, on the device."""
    dataset, data = map_scans(config, index, rows, maps, train=False), config.data
    return batches_once(
        dataset, collate_maps, device, batch_size=data.batch_size, num_workers=data.num_workers
    )


@torch.no_grad()
def score_maps(
    config: MapSegConfig,
    model: MapSegmenter,
    index: NuScenesIndex,
    split: str,
    maps: MapMasks,
    device: torch.device,
    out: Path,
) -> dict[str, Any]:
    """Score every keyframe of a split; write `metrics.json`, and a few keyframes for a picture."""
    rows = split_rows(index, split)
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
            f"{config.data.dataroot} has no map of any of {', '.join(config.maps.classes)} around the keyframes of "
            f"{split}; is the map expansion there, or was the world written by an older version?"
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
