"""How fast the parts of a step could be on this machine: arithmetic over measured GEMM rate, bytes over copy rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from lidardistill.bench.profile.parts import Parts, clock_of, measured, pooling_functions

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lidardistill.tasks.pretrain.run import Pretraining

GEMM_SIZE = {"cpu": 512, "cuda": 8192}
COPY_BYTES = {"cpu": 2**26, "cuda": 2**30}
REPEATS = 30


class Rates(NamedTuple):
    """What the device does at best: floating-point operations and bytes a second, reads and writes counted."""

    flops: float
    bytes: float


def rates_of(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measured: the best of many products in one precision, and of many copies; a busy machine leaves one of them alone."""
    import torch

    size, num_bytes = GEMM_SIZE[device.type], COPY_BYTES[device.type]
    a = torch.randn(size, size, device=device, dtype=dtype)
    ways: list[Callable[[], Any]] = [lambda: a @ a]
    if device.type == "cpu" and dtype == torch.float32:
        # On AMD torch.mm takes MKL's AVX2 kernels; oneDNN, which torch has for other purposes, shows what the CPU can do.
        with suppress(AttributeError, RuntimeError):
            onednn = partial(torch.ops.mkldnn._linear_pointwise, a, a, None, "none", [], "")
            onednn()  # raises where it is not to be had
            ways.append(onednn)
    product_ms = min(_best_ms(way, device) for way in ways)
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_ms = _best_ms(lambda: target.copy_(source), device)
    return Rates(2e3 * size**3 / product_ms, 2e3 * num_bytes / copy_ms)


def _best_ms(call: Callable[[], Any], device: torch.device) -> float:
    parts = Parts(clock_of(device))
    times = []
    for _ in range(REPEATS + 1):
        with parts("call"):
            call()
        times.append(parts.take()["call"])
    return min(times[1:])


class _FlopMeter:
    """Counts the dense products that torch dispatches."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import FlopCounterMode

        self.counter = FlopCounterMode(display=False)

    def mark(self) -> int:
        return self.counter.get_total_flops()

    def between(self, start: int, end: int) -> float:
        return float(end - start)


def flops_of_parts(run: Pretraining, batch: Any) -> dict[str, float]:
    """Floating-point operations of a step by part, from one forward pass that is not timed.

    Args:
        run: what trains.
        batch: on its device.

    Returns:
        Of every part that multiplies matrices; `backward` is twice the forward pass of what trains.
    """
    import torch
    from torch import nn

    from lidardistill.sparse.row_linear import RowLinear

    meter = _FlopMeter()
    parts = Parts(meter)
    with (
        torch.no_grad(),
        mock.patch.object(RowLinear, "forward", nn.Linear.forward),  # torch dispatches this one
        measured(run.method, parts),
        _sparse_flops(run.method.student) as of_student,
        _sparse_flops(getattr(run.method, "teacher", None)) as of_teacher,
        meter.counter,
        run.fabric.autocast(),
    ):
        run.step(batch, 0, diagnose=False)
    found = {name: flops for name, flops in parts.take().items() if flops > 0}
    found["student: convolutions"] = float(sum(of_student))
    if of_teacher:
        found["teacher"] = found.get("teacher", 0.0) + sum(of_teacher)
    found["backward"] = 2 * sum(flops for name, flops in found.items() if name != "teacher")
    return found


@contextmanager
def _sparse_flops(network: nn.Module | None) -> Iterator[list[int]]:
    """Until it ends, every sparse convolution adds its operations: two for each pair, channel in and channel out."""
    from lidardistill.sparse.rulebook import strided_rulebook, submanifold_rulebook
    from lidardistill.sparse.sparse import SparseConv3d, SparseInverseConv3d, SubMConv3d

    flops: list[int] = []
    pairs: dict[str, int] = {}

    def count(layer: Any, inputs: tuple[Any, ...]) -> None:
        (x,) = inputs
        if isinstance(layer, SubMConv3d) and layer.indice_key not in pairs:
            book = submanifold_rulebook(x.coords.cpu(), x.spatial_shape, layer.kernel_size[0])
            pairs[layer.indice_key] = sum(book.sizes) + book.num_source
        elif isinstance(layer, SparseConv3d):
            book = strided_rulebook(
                x.coords.cpu(), x.spatial_shape, layer.kernel_size, layer.stride, layer.padding
            )[0]
            pairs[layer.indice_key] = sum(book.sizes)
        flops.append(2 * pairs[layer.indice_key] * layer.in_channels * layer.out_channels)

    kinds = (SubMConv3d, SparseConv3d, SparseInverseConv3d)
    hooks = [
        module.register_forward_pre_hook(count)
        for module in (() if network is None else network.modules())
        if isinstance(module, kinds)
    ]
    try:
        yield flops
    finally:
        for hook in hooks:
            hook.remove()


def bytes_of_parts(run: Pretraining, batch: Any, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Bytes that must be moved, of the parts that do little but move them.

    The optimiser reads weights, gradients and its states, and writes weights and states; pooling reads what it is given
    and writes its means; the copy to a device reads and writes the batch once.
    """
    weights = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    states = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if getattr(value, "ndim", 0) > 0
    ]
    found = {
        "optimiser": float(3 * _num_bytes(weights) + 2 * _num_bytes(states)),
        "pooling": float(_pooled_bytes(run, batch)),
    }
    if run.fabric.device.type == "cuda":
        found["to device"] = 2.0 * _num_bytes(_tensors(batch))
    return found


def _pooled_bytes(run: Pretraining, batch: Any) -> int:
    """Bytes that go into the poolings of a forward pass and come out of them."""
    import torch

    module, names = pooling_functions(run.method)
    total = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal total
            found = function(*args, **options)
            tensors = (x for x in (*args, *options.values(), *found) if isinstance(x, torch.Tensor))
            total += _num_bytes(tensors)
            return found

        return call

    with ExitStack() as stack, torch.no_grad(), run.fabric.autocast():
        for name in names:
            stack.enter_context(mock.patch.object(module, name, counted(getattr(module, name))))
        run.step(batch, 0, diagnose=False)
    return total


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _tensors(batch: Any) -> Iterator[Tensor]:
    import torch

    for value in vars(batch).values():
        if isinstance(value, torch.Tensor):
            yield value
        elif hasattr(value, "__dataclass_fields__"):
            yield from _tensors(value)
