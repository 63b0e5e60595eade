"""Stop a pretraining run in the middle and resume it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lidardistill.engine.logging import read_metrics
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.run import Pretraining, pretrain
from lidardistill.weights import load_checkpoint_tensors


def assert_goes_on(config: PretrainConfig, whole: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a run of four steps at the last one, resume it, and compare losses and weights with `whole`.

    Args:
        config: config of `whole`.
        whole: run folder of the four steps without a stop.
        run: an empty run folder.
        monkeypatch: the fixture of the test.
    """
    real = Pretraining.step

    def stopping(self, batch, step, *, diagnose):  # type: ignore[no-untyped-def]
        if step == 3:
            raise RuntimeError("the power went")
        return real(self, batch, step, diagnose=diagnose)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "step", stopping)
        with pytest.raises(RuntimeError, match="the power went"):
            pretrain(config, run, progress=False)
    assert pretrain(config, run, progress=False).steps == 4
    losses = [
        [(line["step"], line["loss"]) for line in read_metrics(folder / "metrics.jsonl")]
        for folder in (whole, run)
    ]
    assert losses[0] == losses[1]
    ours = load_checkpoint_tensors(run / "backbone.safetensors")
    wanted = load_checkpoint_tensors(whole / "backbone.safetensors")
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
