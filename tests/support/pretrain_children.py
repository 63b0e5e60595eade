"""`python pretrain_children.py WORLD FOLDER`: killed pretraining runs, forked from one
warm process."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import lightning_fabric  # noqa: F401  (imported before the forks, once)
import torch

from lidardistill.tasks.pretrain import run as module

HERE = Path(__file__).parent


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def run(world: Path, out: Path, kill_at: int | None = None) -> int:
    real = module.Pretraining.step

    def step(self, batch, number, *, diagnose):
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, batch, number, diagnose=diagnose)

    module.Pretraining.step = step
    config = load("tiny_configs").tiny_pretrain(world, out.parent / "teacher", "trainer.max_steps=5")
    return module.pretrain(config, out, progress=False).exit_code


if __name__ == "__main__":
    torch.set_num_threads(1)
    child = load("children").child
    world, folder = map(Path, sys.argv[1:])
    codes = [child(lambda: run(world, folder / "whole"))]
    for kill in (3,):
        codes.append(child(lambda kill=kill: run(world, folder / f"killed{kill}", kill)))
        codes.append(child(lambda kill=kill: run(world, folder / f"killed{kill}")))
    print(*codes)
