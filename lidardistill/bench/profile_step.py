"""Measures what `lidardistill profile` prints."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidardistill.bench.profile_floors import bytes_of_parts, flops_of_parts, rates_of
from lidardistill.bench.step_parts import Clock, Parts, clock_of, loading_measured, measured, median, one_step

if TYPE_CHECKING:
    from lidardistill.tasks.pretrain.config import PretrainConfig
    from lidardistill.tasks.pretrain.run import Pretraining

WARM_UP = 2
KEYFRAMES = 8
NAMES = {"forward": "rest of the forward pass", "student": "student: norms, activations"}
ORDER = (
    "data wait", "to device", "teacher", "student: index pairs", "student: convolutions",
    "student: dense convolutions", "student: lift and splat", "student", "heads", "pooling",
    "loss", "forward", "backward", "optimiser",
)  # fmt: skip


def profile_step(config: PretrainConfig, trace: Path, steps: int) -> dict[str, Any]:
    """Take steps of a pretraining run that keeps nothing, and measure their parts.

    Args:
        config: resolved config; at most `KEYFRAMES` keyframes of it are used. Its caches are filled as a run would.
        trace: gets one more step as a Chrome trace, which https://ui.perfetto.dev opens.
        steps: that count, after `WARM_UP` that do not.

    Returns:
        `step` and `parts` (median_ms, iqr_ms; where known floor_ms and held_mb, what a part leaves allocated),
        `loading` of one keyframe by part, `rates`, `peak_mb`, `device`, `precision`, `trace`.
    """
    import torch

    from lidardistill.tasks.pretrain.run import Pretraining

    keyframes = min(config.data.keyframes or KEYFRAMES, KEYFRAMES)
    config = config.model_copy(update={"data": config.data.model_copy(update={"keyframes": keyframes})})
    run = Pretraining.build(config)
    device = run.fabric.device
    run.compute_teacher_features()
    optimizer, batches = run.optimizer(), run.batches(0)
    parts = Parts(clock_of(device))
    times: list[dict[str, float]] = []
    with measured(run.method, parts):
        for step in range(WARM_UP + steps):
            batch = one_step(run, batches, optimizer, step, parts)
            times.append(parts.take())
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
        else:
            peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        held = _trace(run, batches, optimizer, WARM_UP + steps, parts, trace)
    dtype = torch.bfloat16 if config.trainer.precision == "bf16" else torch.float32
    rates = rates_of(device, torch.float16 if config.trainer.precision == "fp16" else dtype)
    floors = {part: 1e3 * n / rates.flops for part, n in flops_of_parts(run, batch).items()}
    floors |= {part: 1e3 * n / rates.bytes for part, n in bytes_of_parts(run, batch, optimizer).items()}
    kept = times[WARM_UP:]
    figures: dict[str, Any] = {}
    for part in (part for part in ORDER if part in parts.parents):
        figures[part] = median([found.get(part, 0.0) for found in kept])
        if part in floors:
            figures[part]["floor_ms"] = round(floors[part], 3)
        if part in held:
            figures[part]["held_mb"] = round(held[part] / 2**20, 2)
    return {
        "step": median([sum(found.values()) for found in kept]),
        "parts": figures,
        "loading": _loading(run, steps),
        "num_workers": config.data.num_workers,
        "rates": {"gflops": rates.flops / 1e9, "copy_gb_s": rates.bytes / 1e9},
        "peak_mb": peak / 2**20,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": config.trainer.precision,
        "batch_size": run.local_batch,
        "trace": str(trace),
    }


def _trace(
    run: Pretraining, batches: Iterator[Any], optimizer: Any, step: int, parts: Parts, trace: Path
) -> dict[str, float]:
    """Write a trace of one step; bytes that each part leaves allocated, without the parts inside of it."""
    from torch.profiler import ProfilerActivity, profile

    on_cuda = run.fabric.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities, profile_memory=True) as profiler:
        one_step(run, batches, optimizer, step, parts)
    parts.take()
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    memory = "device_memory_usage" if on_cuda else "cpu_memory_usage"
    total = {
        event.key: float(getattr(event, memory))
        for event in profiler.key_averages()
        if event.key in parts.parents
    }
    inside = dict.fromkeys(total, 0.0)
    for part, parent in parts.parents.items():
        if part in total and parent in inside:
            inside[parent] += total[part]
    return {part: total[part] - inside[part] for part in total}


def _loading(run: Pretraining, count: int) -> dict[str, dict[str, float]]:
    """One keyframe at a time in this process, whatever the number of workers: median and IQR by part."""
    dataset = run.dataset()
    parts, found = Parts(Clock()), []
    with loading_measured(dataset, parts):
        for position in range(1 + count):
            with parts("augmentation and rest"):
                sample = dataset[(0, position, position % len(run.rows))]
            with parts("collate"):
                dataset.collate([sample])
            found.append(parts.take())
    return {part: median([times.get(part, 0.0) for times in found[1:]]) for part in parts.parents}


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines that fit a terminal."""
    step = figures["step"]["median_ms"]
    yield (
        f"one step on {figures['device']}, {figures['precision']}, {figures['batch_size']} keyframes a batch, "
        f"{figures['threads']} threads: {step:.1f} ms"
    )
    yield (
        f"floors: {figures['rates']['gflops']:.0f} GFLOP/s in a large product, "
        f"{figures['rates']['copy_gb_s']:.1f} GB/s in a large copy (both measured)"
    )
    yield f"{'part':<28}{'ms':>10}{'IQR':>9}{'share':>8}{'floor ms':>10}{'times':>7}{'keeps MiB':>11}"
    for part, values in figures["parts"].items():
        floor, time_ms, held = values.get("floor_ms"), values["median_ms"], values.get("held_mb")
        yield (
            f"{NAMES.get(part, part):<28}{time_ms:>10.2f}{values['iqr_ms']:>9.2f}{time_ms / step:>8.1%}"
            f"{'-' if floor is None else f'{floor:.2f}':>10}{f'{time_ms / floor:.1f}' if floor else '-':>7}"
            f"{'-' if held is None else f'{held:.1f}':>11}"
        )
    where = f"{figures['num_workers']} workers do this" if figures["num_workers"] else "part of the data wait"
    yield f"loading one keyframe ({where}):"
    for part, values in figures["loading"].items():
        yield f"{'  ' + part:<28}{values['median_ms']:>10.2f}{values['iqr_ms']:>9.2f}"
    yield f"peak memory: {figures['peak_mb']:.0f} MiB" + (
        " resident" if figures["device"] == "cpu" else " allocated on the GPU"
    )
    yield f"trace of one more step: {figures['trace']} (opens in https://ui.perfetto.dev)"
