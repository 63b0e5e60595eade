"""`lidardistill profile`: where time and memory of a pretraining step go."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidardistill.bench.profile.floors import bytes_of_parts, flops_of_parts, rates_of
from lidardistill.bench.profile.parts import Clock, Parts, in_tree_order, median
from lidardistill.bench.profile.steps import STEP, Steps, steps_of
from lidardistill.spans import watching

if TYPE_CHECKING:
    from lidardistill.tasks.pretrain.config import PretrainConfig

WARM_UP = 2
KEYFRAMES = 8
KEYFRAME = "one keyframe"


def profile_step(config: PretrainConfig, trace: Path, steps: int) -> dict[str, Any]:
    """Take steps of a pretraining run that keeps nothing, and measure their parts.

    Args:
        config: resolved config; at most `KEYFRAMES` keyframes are used. Its caches are filled as a run would.
        trace: file for a Chrome trace of one more step, which https://ui.perfetto.dev opens.
        steps: steps that count, after `WARM_UP` that do not.

    Returns:
        `step` and `parts` (median_ms and iqr_ms without the parts inside; floor_ms if known; held_mb, memory
        that the part leaves allocated), `loading` of one keyframe by part, `rates`, `peak_mb`, `device`,
        `precision`, `trace`.
    """
    import torch

    keyframes = min(config.data.keyframes or KEYFRAMES, KEYFRAMES)
    config = config.model_copy(update={"data": config.data.model_copy(update={"keyframes": keyframes})})
    with steps_of(config) as running:
        training = running.training
        device = training.fabric.device
        times = [running.take() for _ in range(WARM_UP + steps)][WARM_UP:]
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
        else:
            peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        held = _trace(running, trace)
        dtype = torch.bfloat16 if config.trainer.precision == "bf16" else torch.float32
        rates = rates_of(device, torch.float16 if config.trainer.precision == "fp16" else dtype)
        moved = bytes_of_parts(training, running.batch)
        floors = {part: 1e3 * n / rates.flops for part, n in flops_of_parts(training, running.batch).items()}
        floors |= {part: 1e3 * n / rates.bytes for part, n in moved.items()}
        figures: dict[str, Any] = {}
        for part in in_tree_order(part for found in times for part in found):
            figures[part] = median([found.get(part, 0.0) for found in times])
            if part in floors:
                figures[part]["floor_ms"] = round(floors[part], 3)
            if part in held:
                figures[part]["held_mb"] = round(held[part] / 2**20, 2)
        return {
            "step": median([sum(found.values()) for found in times]),
            "parts": figures,
            "loading": _loading(running, steps),
            "num_workers": config.data.num_workers,
            "rates": {"gflops": rates.flops / 1e9, "copy_gb_s": rates.bytes / 1e9},
            "peak_mb": peak / 2**20,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "precision": config.trainer.precision,
            "batch_size": config.data.batch_size,
            "trace": str(trace),
        }


def _trace(running: Steps, trace: Path) -> dict[str, float]:
    """Write a trace of one step; bytes that each part leaves allocated, without the parts inside it."""
    from torch.profiler import ProfilerActivity, profile

    on_cuda = running.training.fabric.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities, profile_memory=True) as profiler:
        parts = running.take()
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    memory = "device_memory_usage" if on_cuda else "cpu_memory_usage"
    found = {
        event.key.removeprefix(f"{STEP}/"): float(getattr(event, memory)) for event in profiler.key_averages()
    }
    held = {part: found[part] for part in parts if part in found}
    for part in parts:
        outer = part.rpartition("/")[0] or STEP
        if part in found and outer in held and outer != part:
            held[outer] -= found[part]
    return held


def _loading(running: Steps, count: int) -> dict[str, dict[str, float]]:
    """One keyframe at a time in this process, whatever the number of workers: median and IQR by part."""
    dataset: Any = running.learning.dataset
    parts, times = Parts(Clock()), []
    with watching(parts):
        for position in range(1 + count):
            with parts.span(KEYFRAME):
                sample = dataset[(0, position, position % len(dataset))]
            with parts.span("collate"):
                dataset.collate([sample])
            times.append(parts.take())
    every = in_tree_order(part for found in times for part in found)
    return {part: median([found.get(part, 0.0) for found in times[1:]]) for part in every}


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines that fit a terminal."""
    step = figures["step"]["median_ms"]
    yield (
        f"one step on {figures['device']}, {figures['precision']}, {figures['batch_size']} keyframes a step, "
        f"{figures['threads']} threads: {step:.1f} ms"
    )
    yield (
        f"floors: {figures['rates']['gflops']:.0f} GFLOP/s in a large product, "
        f"{figures['rates']['copy_gb_s']:.1f} GB/s in a large copy (both measured)"
    )
    yield "each part without the parts inside it:"
    yield f"{'part':<32}{'ms':>9}{'IQR':>8}{'share':>7}{'floor ms':>10}{'times':>7}{'keeps MiB':>11}"
    for part, values in figures["parts"].items():
        floor, time_ms, held = values.get("floor_ms"), values["median_ms"], values.get("held_mb")
        yield (
            f"{_indented(part):<32}{time_ms:>9.2f}{values['iqr_ms']:>8.2f}{time_ms / step:>7.1%}"
            f"{'-' if floor is None else f'{floor:.2f}':>10}{f'{time_ms / floor:.1f}' if floor else '-':>7}"
            f"{'-' if held is None else f'{held:.1f}':>11}"
        )
    where = "the workers do this" if figures["num_workers"] else "part of the data wait"
    yield f"loading one keyframe in one process ({where}):"
    for part, values in figures["loading"].items():
        yield f"{_indented(part):<32}{values['median_ms']:>9.2f}{values['iqr_ms']:>8.2f}"
    yield f"peak memory: {figures['peak_mb']:.0f} MiB" + (
        " resident" if figures["device"] == "cpu" else " allocated on the GPU"
    )
    yield f"trace of one more step: {figures['trace']} (opens in https://ui.perfetto.dev)"


def _indented(part: str) -> str:
    """Name of a part, indented by the parts around it; the step's own line is what no part covers."""
    if part == STEP:
        return "rest of the step"
    *outer, name = part.split("/")
    return "  " * len(outer) + name
