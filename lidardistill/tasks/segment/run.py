"""Linear probe and fine-tuning on lidarseg labels, scored by the official evaluator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from lidardistill.backbones.base import Backbone
from lidardistill.backbones.config import BackboneConfig
from lidardistill.backbones.kinds import STUDENT_KINDS
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.config import VoxelConfig
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.label_kinds import open_labels, point_classes
from lidardistill.datasets.scan_layout import refuse_other_layout
from lidardistill.engine.config import CosineConfig, TrainerConfig
from lidardistill.engine.distributed import pick_device
from lidardistill.engine.optim import build_optimizer
from lidardistill.engine.run_folder import METRICS_FILE, write_metrics
from lidardistill.engine.terms import Terms
from lidardistill.exchange.of_run import BACKBONE_FILE, load_student
from lidardistill.tasks.rows import rows_of_key, spread
from lidardistill.tasks.runs import (
    UNLABELLED_SPLIT,
    check_out,
    load_model,
    on_other_data,
    read_run,
    save_model,
    verb_of,
)
from lidardistill.tasks.segment.classifier import Classifier, seeded_head
from lidardistill.tasks.segment.config import (
    CachedProbeConfig,
    FinetuneConfig,
    OnlineProbeConfig,
    ProbeConfig,
    ScanDataConfig,
)
from lidardistill.tasks.segment.probe import calibrate_batchnorm, extract_features, fit_linear, predict_points
from lidardistill.tasks.segment.scan_batches import check_labelled, labelled_rows, still_scans, training_scans
from lidardistill.tasks.segment.train import classification_terms
from lidardistill.tasks.verb import Learning, Task, Work, execute

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def probe(config: ProbeConfig, weights: str, run: Path, *, progress: bool = True) -> dict[str, Any]:
    """Fit a linear layer on a frozen backbone and score it on `data.val_split`.

    Args:
        config: resolved config.
        weights: a pretraining run, an exported file, or `random`.
        run: run folder; a finished one is read, not repeated.
        progress: show progress.

    Returns:
        Content of `metrics.json`; empty on processes other than the first.

    Raises:
        Interrupted: a signal stopped the run; repeat the command to resume it.
    """
    kind = CachedProbe if isinstance(config.probe, CachedProbeConfig) else OnlineProbe
    return execute(kind(config, weights), run, progress=progress).metrics


def finetune(config: FinetuneConfig, weights: str, run: Path, *, progress: bool = True) -> dict[str, Any]:
    """Train backbone and head on a share of the labels and score them on `data.val_split`.

    Args, returns and errors are those of `probe`.
    """
    return execute(Finetune(config, weights), run, progress=progress).metrics


@dataclass(kw_only=True)
class SegmentWork(Work):
    """A classifier and its data.

    Attributes:
        model: backbone and head.
        index: the data set.
        rows: (n,) int64 index rows of the labelled keyframes.
    """

    model: Classifier
    index: Source
    rows: np.ndarray


class SegmentTask(Task[SegmentWork]):
    """Common base of probe and fine-tuning: data, backbone, judge."""

    config: ProbeConfig | FinetuneConfig

    def __init__(self, config: ProbeConfig | FinetuneConfig, weights: str) -> None:
        self.config = config
        self.inputs: Mapping[str, str] = {"weights": weights}

    def build(self, fabric: Fabric) -> SegmentWork:
        config, data = self.config, self.config.data
        self.check()
        index = open_source(data)
        rows = labelled_rows(data, index)
        refuse_other_layout(index, rows)
        check_labelled(index, rows, "data.train_split")
        check_labelled(index, rows_of_key(index, "data.val_split", data.val_split), "data.val_split")
        open_labels(index).point_judge().check(data.val_split)
        backbone = seeded_student(config.student, config.voxels, config.seed)
        load_student(backbone, self.inputs["weights"], config.voxels)
        generator = torch.Generator().manual_seed(config.seed)
        head = seeded_head(backbone.out_channels, num_classes(data), generator)
        model = Classifier(backbone, head).to(fabric.device)
        text = f"{len(rows)} labelled keyframes of {data.train_split}"
        work = SegmentWork(model=model, index=index, rows=rows, data=text)
        self.learn(work)
        return work

    def check(self) -> None:
        """Raise ValueError for a config that does not fit the weights."""

    def learn(self, work: SegmentWork) -> None:
        """Set modes, and `work.learning` if the classifier trains by steps."""

    def learning(self, work: SegmentWork, optimizer: torch.optim.Optimizer, *, lovasz: bool) -> Learning:
        """Cross-entropy on augmented scans, plus Lovász-softmax if `lovasz`."""
        config = self.config

        def terms(batch: Any, step: int, diagnose: bool) -> Terms:
            return classification_terms(work.model, batch, lovasz=lovasz)

        voxels = config.student.scan_input(config.voxels)
        dataset = training_scans(config.data, work.index, work.rows, voxels, config.seed)
        return Learning(optimizer, terms, dataset)

    def finish(self, work: SegmentWork, steps: int, run: Path) -> dict[str, Any]:
        save_model(work.model, run)
        return evaluate(run, self.config.data.val_split, run)


class ProbeTask(SegmentTask):
    """Common base of both probes: the backbone is frozen and needs the input format of its pretraining."""

    verb: ClassVar[str] = "probe"
    config: ProbeConfig
    schedule = CosineConfig()

    def check(self) -> None:
        check_card(self.inputs["weights"], self.config.voxels)


class CachedProbe(ProbeTask):
    """Linear probe on features that are computed once."""

    @property
    def trainer(self) -> TrainerConfig:  # type: ignore[override]
        return TrainerConfig(max_steps=1, accelerator=self.config.accelerator)

    def finish(self, work: SegmentWork, steps: int, run: Path) -> dict[str, Any]:
        config, backbone, probe = self.config, work.model.backbone, self.config.probe
        assert isinstance(probe, CachedProbeConfig)
        device = next(backbone.parameters()).device
        voxels = config.student.scan_input(config.voxels)
        calibrate(backbone, config.data, voxels, work.index, probe.calibration_keyframes, device)
        scans = still_scans(config.data, work.index, work.rows, voxels, device, labels=True)
        features = extract_features(backbone, ((scan.voxels, scan.labels()) for scan in scans))
        generator = torch.Generator().manual_seed(config.seed)
        work.model.head = fit_linear(features, num_classes(config.data), probe, generator=generator)
        return super().finish(work, steps, run)


class OnlineProbe(ProbeTask):
    """SLidR's linear probe: the head trains on augmented scans behind a frozen network in eval mode."""

    @property
    def probe(self) -> OnlineProbeConfig:
        assert isinstance(self.config.probe, OnlineProbeConfig)
        return self.config.probe

    @property
    def trainer(self) -> TrainerConfig:  # type: ignore[override]
        return TrainerConfig(epochs=self.probe.epochs, accelerator=self.config.accelerator)

    def learn(self, work: SegmentWork) -> None:
        work.model.train()
        work.model.backbone.requires_grad_(False).eval()
        optimizer = build_optimizer(self.probe.optimizer, work.model.head)
        work.learning = self.learning(work, optimizer, lovasz=self.probe.lovasz)


class Finetune(SegmentTask):
    """Fine-tuning of backbone and head."""

    verb: ClassVar[str] = "finetune"
    config: FinetuneConfig

    @property
    def trainer(self) -> TrainerConfig:  # type: ignore[override]
        return self.config.trainer

    @property
    def schedule(self) -> Any:  # type: ignore[override]
        return self.config.schedule

    def learn(self, work: SegmentWork) -> None:
        config, model = self.config, work.model.train()
        head: dict[str, Any] = {"params": list(model.head.parameters())}
        if config.lr_head is not None:
            head["lr"] = config.lr_head
        groups = [{"params": list(model.backbone.parameters())}, head]
        optimizer = build_optimizer(config.optimizer, groups)
        work.learning = self.learning(work, optimizer, lovasz=config.lovasz)

    def finish(self, work: SegmentWork, steps: int, run: Path) -> dict[str, Any]:
        config, backbone = self.config, work.model.backbone
        device = next(backbone.parameters()).device
        voxels = config.student.scan_input(config.voxels)
        calibrate(backbone, config.data, voxels, work.index, config.calibration_keyframes, device)
        return super().finish(work, steps, run)


def check_card(weights: str, voxels: VoxelConfig) -> None:
    """Refuse to probe a backbone on voxels that it was not pretrained with.

    Args:
        weights: a pretraining run, an exported file, or `random`; without a card the check is skipped.
        voxels: voxels of the probe.

    Raises:
        ValueError: grid, features or intensity scale differ; the message has the card's values.
    """
    path = Path(weights)
    card = path / Path(BACKBONE_FILE).with_suffix(".json") if path.is_dir() else path.with_suffix(".json")
    if weights == "random" or not card.is_file():
        return
    content = json.loads(card.read_text())
    kind = content.get("student", {}).get("kind", "minkunet")
    if kind not in STUDENT_KINDS:
        raise ValueError(
            f"--weights {weights} are of a {kind}, which reads no scans: expected a student of kind "
            f"{' or '.join(STUDENT_KINDS)} (from {card})"
        )
    known, ours = content.get("voxels", {}), voxels.model_dump(mode="json")
    keys = ("kind", "voxel_size", "point_cloud_range", "point_features", "intensity_scale")
    differing = [key for key in keys if key in known and known[key] != ours[key]]
    if differing:
        found = ", ".join(f"voxels.{key} {ours[key]}" for key in differing)
        wanted = " ".join(f"'voxels.{key}={json.dumps(known[key])}'" for key in differing)
        raise ValueError(
            f"--weights {weights} were pretrained with other voxels than {found}; add to the command: "
            f"{wanted} (from {card})"
        )


def evaluate(
    run: Path, split: str, out: Path, *, dataroot: Path | None = None, version: str | None = None
) -> dict[str, Any]:
    """Predict every raw point of a split and have nuscenes-devkit score it.

    Args:
        run: probe or fine-tuning run.
        split: such as val or mini_val; `test` has no labels, so its predictions are not scored.
        out: gets the predictions in devkit format and `metrics.json`.
        dataroot, version: other data than those of the run.

    Returns:
        Content of `metrics.json`; empty if nothing was scored.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: `run` is a pretraining run, or `out` holds another run.
    """
    check_out(run, out)
    model, config, device = open_classifier(run)
    config = on_other_data(config, dataroot, version)
    index = open_source(config.data)
    judge = open_labels(index).point_judge()
    voxels = config.student.scan_input(config.voxels)
    judge.write(out, split, predictions(model, config.data, voxels, index, split, device))
    if split == UNLABELLED_SPLIT:
        return {}
    metrics = judge.score(split, out)
    write_metrics(out / METRICS_FILE, metrics)
    return metrics


def open_classifier(run: Path) -> tuple[Classifier, FinetuneConfig | ProbeConfig, torch.device]:
    """The classifier of a finished run, on its device, with the run's config.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: `run` is a run of another verb.
    """
    verb = verb_of(run)
    if verb not in ("probe", "finetune"):
        raise ValueError(
            f"{run} is a {verb} run and names no classes: expected the run of `lidardistill probe` or "
            "`lidardistill finetune`"
        )
    config: FinetuneConfig | ProbeConfig
    if verb == "finetune":
        config = read_run(run, FinetuneConfig)
        device = pick_device(config.trainer.accelerator)
    else:
        config = read_run(run, ProbeConfig)
        device = pick_device(config.accelerator)
    backbone = config.student.build(config.voxels)
    model = load_model(Classifier(backbone, nn.Linear(backbone.out_channels, num_classes(config.data))), run)
    return model.to(device), config, device


def predictions(
    model: Classifier,
    data: ScanDataConfig,
    voxels: ScanInput,
    index: Source,
    split: str,
    device: torch.device,
) -> Iterator[tuple[int, np.ndarray]]:
    """Row and (M,) uint8 class of every point of the scan file, of each keyframe of a split."""
    for batch in still_scans(data, index, index.rows_of_split(split), voxels, device, labels=False):
        classes = predict_points(model.backbone, model.head, batch.voxels).cpu().numpy()
        bounds = batch.point_offsets.tolist()
        for row, kept, start, end in zip(batch.rows, batch.kept, bounds, bounds[1:], strict=False):
            yield row, of_file(classes[start:end].astype(np.uint8), kept)


def of_file(classes: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
    """(M,) classes of all points of a scan file, from the classes of the N kept points; 0 for the others."""
    if kept is None:
        return classes
    whole = np.zeros(len(kept), classes.dtype)
    whole[kept] = classes
    return whole


def num_classes(data: ScanDataConfig) -> int:
    """Number of point classes of this kind of data."""
    return len(point_classes(data.kind))


def calibrate(
    backbone: Backbone,
    data: ScanDataConfig,
    voxels: ScanInput,
    index: Source,
    keyframes: int,
    device: torch.device,
) -> None:
    """Recompute BatchNorm statistics on unaugmented, unlabelled training scans; 0 keyframes disable it."""
    if keyframes == 0:
        return
    rows = spread(index.rows_of_split(data.train_split), keyframes)
    calibrate_batchnorm(backbone, voxel_batches(data, voxels, index, rows, device))


def voxel_batches(
    data: ScanDataConfig, voxels: ScanInput, index: Source, rows: np.ndarray, device: torch.device
) -> Iterator[VoxelBatch]:
    for scan in still_scans(data, index, rows, voxels, device, labels=False):
        yield scan.voxels


def seeded_student(student: BackboneConfig, voxels: VoxelConfig, seed: int) -> Backbone:
    """Backbone with seeded weights, the same weights that pretraining starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return student.build(voxels)
