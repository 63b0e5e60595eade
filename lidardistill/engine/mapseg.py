"""Map segmentation: train a bird's-eye-view backbone and a map head, and score them as BEVFusion does."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lidardistill.atomic import atomic_write
from lidardistill.config.mapseg import MapSegConfig
from lidardistill.data.augment import AugmentSettings
from lidardistill.data.loader import make_loader, warm_up
from lidardistill.data.map_masks import MapMasks
from lidardistill.data.map_scans import MapBatch, MapScanDataset, collate_maps
from lidardistill.data.nuscenes import NuScenesIndex
from lidardistill.data.sampler import EpochOrder, OnceSampler, StepSampler
from lidardistill.engine.build import (
    build_optimizer,
    build_schedule,
    build_student,
    build_voxels,
    loop_settings,
    open_index,
    spread,
)
from lidardistill.engine.classifier import save_classifier
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.downstream import finished_metrics, pick_device, to_the_end
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import LoopResult, run_loop
from lidardistill.engine.manifest import Manifest
from lidardistill.engine.map_segmenter import MapSegmenter, load_segmenter
from lidardistill.engine.run_folder import CONFIG_FILE, FREE_KEYS, METRICS_FILE, claim_run, read_run
from lidardistill.engine.scan_batches import labelled_rows, split_rows
from lidardistill.engine.student_weights import load_student
from lidardistill.evaluation.lidarseg import write_metrics
from lidardistill.evaluation.map_segmentation import count_cells, map_scores
from lidardistill.evaluation.probe import calibrate_batchnorm
from lidardistill.methods.terms import Terms
from lidardistill.models.map_head import MapHead
from lidardistill.objectives.map_segmentation import sigmoid_focal_loss
from lidardistill.ops.bev_grid import BevGrid

SHOWN_FILE = "maps.npz"
NUM_SHOWN = 4


def mapseg(config: MapSegConfig, weights: str, run: Path) -> dict[str, Any]:
    """Train on a share of the scenes and score on `data.val_split`.

    The same command continues an interrupted run.

    Args:
        config: resolved config.
        weights: of the backbone: a pretraining run, an exported file, or `random`.
        run: run folder; a finished one is read, not repeated.

    Returns:
        What `metrics.json` holds: see `evaluation.map_segmentation.map_scores`, and evaluator, split, num_keyframes.
    """
    claim_run(run, "mapseg", config, weights=weights)
    if (metrics := finished_metrics(run)) is not None:
        return metrics
    device = pick_device(config.trainer.accelerator)
    index = open_index(config.data)
    model = build_segmenter(config)
    load_student(model.backbone, weights)
    manifest = Manifest(run / "manifest.json", seed=config.seed, extra={"weights": weights})
    model.to(device)
    rows = labelled_rows(config.data, index)
    to_the_end(train_segmenter(config, model, map_scans(config, index, rows, train=True), run), manifest, run)
    if config.calibration_keyframes:
        some = spread(split_rows(index, config.data.train_split), config.calibration_keyframes)
        scans = still_maps(config, index, some, device)
        calibrate_batchnorm(model, (batch.voxels for batch in scans), lambda network, voxels: network(voxels))
    save_classifier(model, run)
    metrics = score_maps(config, model.eval(), index, config.data.val_split, device, run)
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
    return score_maps(config, model, open_index(config.data), split, device, out)


def build_segmenter(config: MapSegConfig) -> MapSegmenter:
    """Backbone and head with freshly drawn weights; the backbone's are those that pretraining starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = build_student(config.student, config.voxels)
        target = BevGrid.of_range(config.maps.bev_range, config.maps.cell_size)
        return MapSegmenter(
            backbone, MapHead(backbone.out_channels, len(config.maps.classes), backbone.grid, target)
        )


def map_scans(config: MapSegConfig, index: NuScenesIndex, rows: np.ndarray, *, train: bool) -> MapScanDataset:
    """Scans with maps, augmented in training."""
    data, default = config.data, AugmentSettings()
    augment = AugmentSettings(
        rotate=data.rotate,
        flip_x_probability=default.flip_x_probability if data.flip else 0.0,
        flip_y_probability=default.flip_y_probability if data.flip else 0.0,
    )
    maps = MapMasks(data.dataroot, data.version, **config.maps.model_dump())
    return MapScanDataset(
        index,
        rows,
        build_voxels(config.voxels, config.student),
        maps,
        seed=config.seed,
        train=train,
        augment=augment,
        num_sweeps=config.num_sweeps,
    )


def train_segmenter(
    config: MapSegConfig, model: MapSegmenter, dataset: MapScanDataset, run: Path
) -> LoopResult:
    """Minimise the sum over classes of the focal loss."""
    trainer, data = config.trainer, config.data
    fabric = make_fabric(trainer.accelerator, precision=trainer.precision)
    model.to(fabric.device).train()
    per_batch, rest = divmod(data.batch_size, fabric.world_size * trainer.accumulate)
    if rest or per_batch == 0:
        raise ValueError(
            f"data.batch_size: {data.batch_size} scans cannot be shared out evenly over "
            f"{fabric.world_size * trainer.accumulate} batches"
        )
    steps_per_epoch = len(dataset) / data.batch_size
    steps = trainer.max_steps or math.ceil((trainer.epochs or 1) * steps_per_epoch)

    def batches(start: int) -> Iterator[MapBatch]:
        order = EpochOrder(len(dataset), config.seed)
        sampler = StepSampler(order, per_batch, fabric.global_rank, fabric.world_size, start)
        if data.num_workers:
            warm_up(dataset)  # compile numba kernels here, not in every worker
        pin = fabric.device.type == "cuda"
        return iter(make_loader(dataset, sampler, collate_maps, data.num_workers, pin_memory=pin))

    head: dict[str, Any] = {"params": list(model.head.parameters())}
    if config.lr_head is not None:
        head["lr"] = config.lr_head
    return run_loop(
        fabric,
        lambda batch, step: map_terms(model, batch, config.maps.classes, config.gamma),
        model,
        build_optimizer(config.optimizer, [{"params": list(model.backbone.parameters())}, head]),
        build_schedule(config.schedule, steps=steps, steps_per_epoch=steps_per_epoch),
        batches,
        loop_settings(trainer, steps),
        run,
        RunLogger(run, write=fabric.is_global_zero, label="mapseg"),
        config=config.model_dump(mode="json"),
        may_differ=FREE_KEYS,
    )


def map_terms(model: MapSegmenter, batch: MapBatch, classes: tuple[str, ...], gamma: float) -> Terms:
    """The focal loss of a batch, by class."""
    losses = sigmoid_focal_loss(model(batch.voxels), batch.masks, gamma=gamma)
    named = dict(zip(classes, losses.detach().unbind(), strict=True))
    return Terms(loss=losses.sum(), losses=named, counts={"voxels": len(batch.voxels.features)})


def still_maps(
    config: MapSegConfig, index: NuScenesIndex, rows: np.ndarray, device: torch.device
) -> Iterator[MapBatch]:
    """Each scan once, in order, without augmentation, on the device."""
    dataset = map_scans(config, index, rows, train=False)
    if config.data.num_workers:
        warm_up(dataset)
    sampler = OnceSampler(len(rows), config.data.batch_size)
    for batch in make_loader(dataset, sampler, collate_maps, config.data.num_workers):
        yield batch.to(device)


@torch.no_grad()
def score_maps(
    config: MapSegConfig,
    model: MapSegmenter,
    index: NuScenesIndex,
    split: str,
    device: torch.device,
    out: Path,
) -> dict[str, Any]:
    """Score every keyframe of a split; write `metrics.json`, and a few keyframes for a picture."""
    rows = split_rows(index, split)
    shown = set(spread(rows, NUM_SHOWN).tolist())
    pictures: list[tuple[str, np.ndarray, np.ndarray]] = []
    counts: np.ndarray | int = 0
    for batch in still_maps(config, index, rows, device):
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
