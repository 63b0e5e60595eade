"""One pretraining step cut into named parts, for `bench step` and `profile`: what is measured is up to the meter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lidardistill.tasks.pretrain.run import Pretraining


class Meter(Protocol):
    """Something that grows while a step runs."""

    def mark(self) -> Any: ...

    def between(self, start: Any, end: Any) -> float: ...


class Clock:
    """Milliseconds on the CPU."""

    def mark(self) -> float:
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        return 1e3 * (end - start)


class CudaClock:
    """Milliseconds between CUDA events: measuring does not make the device wait."""

    def mark(self) -> torch.cuda.Event:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        end.synchronize()
        return start.elapsed_time(end)


@dataclass
class _Span:
    name: str
    parent: str | None
    start: Any
    end: Any = None


class Parts:
    """What each part of a step takes, without the parts inside of it.

    Args:
        meter: what is measured.

    Attributes:
        parents: the part that each one lies in.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.parents: dict[str, str | None] = {}
        self._spans: list[_Span] = []
        self._open: list[str] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what runs inside; it also stands under this name in a profiler's trace."""
        from torch.profiler import record_function

        with record_function(name):
            parent = self._open[-1] if self._open else None
            self.parents.setdefault(name, parent)
            span = _Span(name, parent, self.meter.mark())
            self._spans.append(span)
            self._open.append(name)
            try:
                yield
            finally:
                self._open.pop()
                span.end = self.meter.mark()

    def take(self) -> dict[str, float]:
        """By part, what was measured since the last call."""
        found: dict[str, float] = {}
        for span in self._spans:
            value = self.meter.between(span.start, span.end)
            found[span.name] = found.get(span.name, 0.0) + value
            if span.parent is not None:
                found[span.parent] = found.get(span.parent, 0.0) - value
        self._spans.clear()
        return found


def clock_of(device: torch.device) -> Meter:
    """The clock that fits a device."""
    return CudaClock() if device.type == "cuda" else Clock()


def one_step(
    run: Pretraining, batches: Iterator[Any], optimizer: torch.optim.Optimizer, step: int, parts: Parts
) -> Any:
    """Take one training step and measure its parts; inside of `measured`, those of the forward pass too.

    Args:
        run: what trains.
        batches: its batches.
        optimizer: its optimiser.
        step: number of the step.
        parts: measures.

    Returns:
        The batch, on the device.
    """
    with parts("data wait"):
        batch = next(batches)
    with parts("to device"):
        batch = batch.to(run.fabric.device)
    with parts("forward"), run.fabric.autocast():
        terms = run.step(batch, step, diagnose=False)
    with parts("backward"):
        terms.loss.backward()
    with parts("optimiser"):
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return batch


@contextmanager
def measured(method: nn.Module, parts: Parts) -> Iterator[None]:
    """Until it ends, the parts of the method's forward pass are measured too, where they are known."""
    from torch import nn

    from lidardistill.sparse.sparse import SparseConv3d, SparseInverseConv3d, SubMConv3d

    known = _parts_of(method)
    with ExitStack() as stack:
        for owner, name, part in known:
            stack.enter_context(_replaced(owner, name, part, parts))
        sparse = (SubMConv3d, SparseConv3d, SparseInverseConv3d)
        for layer in _layers(method.student, sparse):
            stack.enter_context(_replaced(layer, "forward", "student: convolutions", parts))
            stack.enter_context(_replaced(layer, "_pairs", "student: index pairs", parts))
        for layer in _layers(method.student, (nn.Conv2d, nn.ConvTranspose2d)):
            stack.enter_context(_replaced(layer, "forward", "student: dense convolutions", parts))
        yield


def _layers(module: Any, kinds: tuple[type, ...]) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def _parts_of(method: nn.Module) -> list[tuple[Any, str, str]]:
    """(object or module, name of a function of it, part) of what a method's forward pass calls."""
    from lidardistill.backbones.camera_bev import net as camera_bev
    from lidardistill.methods.bevcontrast import method as bevcontrast
    from lidardistill.methods.calico_prc import method as calico
    from lidardistill.methods.calico_rad import method as calico_rad
    from lidardistill.methods.slidr import method as slidr

    if isinstance(method, slidr.SLidR):
        return [
            (method.student, "forward", "student"),
            (method.teacher, "forward", "teacher"),
            (method.student_head, "forward", "heads"),
            (method.teacher_head, "forward", "heads"),
            (method.teacher_head, "rows", "heads"),
            *((slidr, name, "pooling") for name in pooling_functions(method)[1]),
            (method, "contrast", "loss"),
        ]
    if isinstance(method, calico.PRC):
        return [
            (method.student, "forward", "student"),
            (method.projector, "forward", "heads"),
            *((calico, name, "pooling") for name in pooling_functions(method)[1]),
            (calico, "both_point_contrasts", "loss"),
        ]
    if isinstance(method, calico_rad.RAD):
        return [
            (method.student, "forward", "student"),
            (camera_bev, "lift_splat", "student: lift and splat"),
            (method.teacher, "forward", "teacher"),
            (method.student_head, "forward", "heads"),
            (method.teacher_head, "forward", "heads"),
            *((calico_rad, name, "pooling") for name in pooling_functions(method)[1]),
            (calico_rad, "region_distill", "loss"),
        ]
    if isinstance(method, bevcontrast.BEVContrast):
        return [
            (method.student, "forward", "student"),
            (method.student_head, "forward", "heads"),
            *((bevcontrast, name, "pooling") for name in pooling_functions(method)[1]),
            (bevcontrast, "info_nce", "loss"),
        ]
    raise ValueError(f"no parts of a step of {type(method).__name__} are known")


def pooling_functions(method: nn.Module) -> tuple[Any, tuple[str, ...]]:
    """The module of a method, and the functions in it that gather what is contrasted out of rows and maps."""
    from lidardistill.methods.bevcontrast import method as bevcontrast
    from lidardistill.methods.calico_prc import method as calico
    from lidardistill.methods.calico_rad import method as calico_rad
    from lidardistill.methods.slidr import method as slidr

    if isinstance(method, calico.PRC):
        return calico, ("bev_sample",)
    if isinstance(method, calico_rad.RAD):
        return calico_rad, ("bev_sample",)
    if isinstance(method, bevcontrast.BEVContrast):
        return bevcontrast, ("bev_scatter", "bev_sample")
    return slidr, ("segment_mean", "superpixel_pool")


@contextmanager
def loading_measured(dataset: Any, parts: Parts) -> Iterator[None]:
    """Until it ends, the parts of reading a keyframe in this process are measured."""
    from lidardistill.data import view_image
    from lidardistill.data.voxel_input import ScanInput
    from lidardistill.methods import image_pairs

    known = [
        (image_pairs, "resample_superpixels", "superpixels"),
        (view_image, "read_image", "decode images"),
        (image_pairs, "resize_image", "resize images"),
        (image_pairs, "pair_points", "project points"),
        (ScanInput, "read", "voxelise"),
    ]
    with ExitStack() as stack:
        for owner, name, part in [(dataset.source, "frame", "read tables and sweep"), *known]:
            stack.enter_context(_replaced(owner, name, part, parts))
        yield


@contextmanager
def _replaced(owner: Any, name: str, part: str, parts: Parts) -> Iterator[None]:
    """A function of an object or of a module, measured."""
    own = vars(owner).get(name)
    function: Callable[..., Any] = getattr(owner, name)

    @wraps(function)
    def timed(*args: Any, **options: Any) -> Any:
        with parts(part):
            return function(*args, **options)

    setattr(owner, name, timed)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def median(values: list[float]) -> dict[str, float]:
    """Median and interquartile range of times in milliseconds."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median_ms": round(float(middle), 3), "iqr_ms": round(float(high - low), 3)}
