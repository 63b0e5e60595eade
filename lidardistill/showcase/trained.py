"""A finished pretraining run, loaded for pictures: its method with weights, its data and its keyframes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lidardistill.atomic import atomic_write
from lidardistill.data.collate import collate_voxels
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint
from lidardistill.engine.run_folder import CHECKPOINTS
from lidardistill.methods.base import Method
from lidardistill.methods.of_run import method_of
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.rows import pretraining_rows, spread
from lidardistill.tasks.runs import read_run
from lidardistill.tasks.segment.config import ProbeConfig
from lidardistill.tasks.segment.probe import calibrate_batchnorm
from lidardistill.tasks.segment.sample import ScanRecipe

CALIBRATION_SCANS = 8


@dataclass(frozen=True)
class Trained:
    """A finished pretraining run.

    Attributes:
        config: of the run.
        index: reads its keyframes.
        method: with trained weights, in eval mode, on the CPU; BatchNorm statistics of scans that are not
            augmented, as the probe has them.
        split: the keyframes to show: the split of the probe, else one that pretraining did not read.
        rows: (n,) index rows of the split.
        probe_run: folder of a probe of its backbone, or None.
    """

    config: PretrainConfig
    index: Source
    method: Method
    split: str
    rows: np.ndarray
    probe_run: Path | None

    @classmethod
    def open(cls, run: Path, probe_run: Path | None = None) -> Trained:
        """Load a run.

        Raises:
            FileNotFoundError: there is no run, or its data are missing.
            ValueError: it has no finished checkpoint, or one of another model.
        """
        config = read_run(run, PretrainConfig)
        index = open_source(config.data)
        split, rows = validation_rows(config, probe_run, index)
        method = load_method(config, run)
        if method.student_reads_scans:
            known = spread(pretraining_rows(config.data, index), CALIBRATION_SCANS)
            recipe = ScanRecipe(config.student.scan_input(config.voxels))
            scans = Keyframes(index, known, recipe, seed=0, max_substitutes=0)
            read = (collate_voxels([scans[(0, i, i)].voxels]) for i in range(len(known)))
            calibrate_batchnorm(method.student, read)
        return cls(config, index, method, split, rows, probe_run)


def load_method(config: PretrainConfig, run: Path) -> Method:
    """The method of a run with the weights of its newest checkpoint, in eval mode, on the CPU.

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


def validation_rows(config: PretrainConfig, probe_run: Path | None, index: Source) -> tuple[str, np.ndarray]:
    """A split and its rows: the split of the probe, else one that pretraining did not read, else its own."""
    if probe_run is not None:
        split = read_run(probe_run, ProbeConfig).data.val_split
        return split, index.rows_of_split(split)
    present = index.splits()
    for split in ("mini_val", "slidr_val", "val"):
        if present.get(split, (0, 0))[0] and split != config.data.split:
            return split, index.rows_of_split(split)
    return config.data.split, pretraining_rows(config.data, index)


def store(out: Path, arrays: dict[str, Any]) -> Path:
    """Write an .npz file whole or not at all; returns `out`."""
    with atomic_write(out) as stream:
        np.savez_compressed(stream, **arrays)
    return out
