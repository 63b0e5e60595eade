"""Dry run: builds the run, takes one step, and estimates the cost; writes no files."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from lidardistill.data.image_cache import ImageCache
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.loop import first_steps
from lidardistill.engine.manifest import peak_memory
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.run import Pretrain
from lidardistill.tasks.verb import build_training

_BYTES_OF_A_CACHED_MAP = 34_000  # one 1600x900 superpixel map; command not recorded

_TIMED = 3
"""Number of timed batches and steps; their median is the estimate."""


def dry_run_report(config: PretrainConfig) -> str:
    """Report of one training step of a config.

    Args:
        config: resolved config. The dry run neither reads nor fills its caches.

    Returns:
        Shapes, parameters, and estimates of time, memory and disk, one per line.
    """
    superpixels = config.data.superpixels.model_copy(update={"cache": None})
    images = config.data.images.model_copy(update={"cache": None})
    data = config.data.model_copy(update={"superpixels": superpixels, "images": images, "num_workers": 0})
    uncached = config.model_copy(update={"data": data, "teacher_cache": None})
    fabric = make_fabric(config.trainer.accelerator, precision=config.trainer.precision)
    with tempfile.TemporaryDirectory() as folder:
        task = Pretrain(uncached)
        work = task.build(fabric, _open_without_writing(uncached, Path(folder)))
        assert work.learning is not None
        parts, training = work.parts, build_training(task, work.model, work.learning, fabric)
        batches = training.batches(0)
        batch = next(batches).to(fabric.device)  # the first batch and the first step compile kernels
        repeated = replace(training, batches=lambda start: itertools.repeat(batch))
        with closing(first_steps(repeated)) as steps_of_run:
            loss = next(steps_of_run).read().loss
            seconds = [_seconds(lambda: next(steps_of_run).read()) for _ in range(_TIMED)]
        compute_seconds = statistics.median(seconds)
        data_seconds = statistics.median(_seconds(lambda: next(batches)) for _ in range(_TIMED))
    steps, keyframes = training.total_steps, len(parts.rows)
    trained = [p for p in parts.method.parameters() if p.requires_grad]
    teacher = getattr(parts.method, "teacher", None)
    # Without an image teacher, the teacher is a frozen copy of the run's student.
    teacher_name = config.student.preset if config.teacher is None else config.teacher.kind
    sizes = parts.index.frame(int(parts.rows[0])).image_size.tolist()
    checkpoint = 4 * sum(p.numel() for p in trained) * (3 if config.optimizer.kind == "adamw" else 2)
    workers = max(config.data.num_workers, 1)
    step_seconds = max(compute_seconds, data_seconds / workers)
    return "\n".join(
        [
            f"config      {config.name}: {keyframes} keyframes of {config.data.split}, {steps} steps of "
            f"{config.data.batch_size}",
            *parts.method.describe(batch),
            f"student     {_millions(parts.method.student)} M parameters, "
            f"{parts.card()['student']['preset']}",
            *(
                [f"teacher     {_millions(teacher)} M parameters, {teacher_name}, frozen"]
                if isinstance(teacher, nn.Module)
                else []
            ),
            f"trains      {sum(p.numel() for p in trained) / 1e6:.2f} M parameters",
            f"loss        {loss:.3f} at the first step",
            f"time        data {data_seconds:.2f} s a batch in one process, step {compute_seconds:.2f} s; "
            f"with {workers} "
            f"workers about {step_seconds * steps / 3600:.1f} h in all",
            f"memory      {_memory()}",
            f"disk        {config.trainer.keep_checkpoints} checkpoints of {checkpoint / 1e6:.0f} MB"
            + _superpixel_cache(config, keyframes * len(sizes))
            + _image_cache(config, keyframes, sizes),
            "nothing was written",
        ]
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _open_without_writing(config: PretrainConfig, folder: Path) -> Source:
    try:
        return open_source(config.data, build=False)
    except FileNotFoundError:
        return open_source(config.data, cache_dir=folder)


def _superpixel_cache(config: PretrainConfig, views: int) -> str:
    """Disk space of the superpixel cache, if the method reads superpixels."""
    if "data.superpixels" not in config.method.reads:
        return ""
    return f"; superpixel cache, if used, about {views * _BYTES_OF_A_CACHED_MAP / 1e9:.2f} GB"


def _image_cache(config: PretrainConfig, keyframes: int, sizes: list[list[int]]) -> str:
    """Disk space of the image cache, from the sizes of the first keyframe's images."""
    if config.data.images.cache is None:
        return ""
    cache = ImageCache(config.data.images.cache, config.data.images.scale)
    total = keyframes * sum(cache.bytes_of((height, width)) for height, width in sizes)
    return f"; image cache about {total / 1e9:.2f} GB"


def _millions(module: nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f}"


def _memory() -> str:
    peak = peak_memory()
    text = f"{peak['process_mb']:.0f} MB at the peak of this process"
    if torch.cuda.is_available():
        text += f", {peak.get('gpu_mb', 0.0):.0f} MB on the GPU"
    return text
