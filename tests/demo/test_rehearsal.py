"""The rehearsal compiles all kernels of the demo and does not disturb the demo."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lidardistill.demo import rehearsal as module
from lidardistill.demo.rehearsal import rehearsal

_CHILD = """
import sys
from pathlib import Path

import torch
from numba.core.dispatcher import Dispatcher

from lidardistill.demo.experiment import pretrain_config
from lidardistill.engine.batches import endless_batches
from lidardistill.tasks.pretrain.run import Pretraining
from lidardistill.demo.rehearsal import rehearse
from lidardistill.synthetic.write.dataset import write_world

def compiled():
    kernels = {
        (name, key): value
        for name, module in list(sys.modules.items())
        if name.startswith("lidardistill") and ".synthetic." not in name
        for key, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }
    return {(*at, str(signature)) for at, kernel in kernels.items() for signature in kernel.signatures}

torch.set_num_threads(1)
home = Path(sys.argv[1])
(home / "rehearsal").mkdir()
rehearse(home / "rehearsal")
known = compiled()
world = write_world(
    home / "world", train_scenes=1, val_scenes=0, keyframes=1, image_size=(90, 160), workers=1
)
few = pretrain_config(world, home, "pretrained", 0).schedule.warmup_steps + 1
run = Pretraining.build(pretrain_config(world, home, "pretrained", 0, max_steps=few))
run.compute_teacher_features()
batch = next(endless_batches(run.dataset(), run.fabric, share=1, seed=0, num_workers=0, start=0))
terms = run.step(batch, 0, diagnose=True)
terms.loss.backward()
print(len(known), sorted(compiled() - known))
"""


def test_the_demo_needs_no_kernel_that_was_not_rehearsed(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    count, _, missing = child.stdout.strip().splitlines()[-1].partition(" ")
    assert int(count) > 20
    assert missing == "[]"


def _fail(_: Path) -> None:
    raise RuntimeError("nobody should hear of this")


def _take_long(_: Path) -> None:
    time.sleep(600)


def test_a_rehearsal_that_fails_is_not_heard_of(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "rehearse", _fail)
    with rehearsal():
        pass
    assert "nobody" not in capfd.readouterr().err


def test_a_block_that_fails_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "rehearse", _take_long)
    with pytest.raises(KeyError), rehearsal():
        raise KeyError
