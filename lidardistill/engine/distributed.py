"""Devices, precision and process groups: a thin layer over Lightning Fabric.

`torchrun` or SLURM's `srun` starts one process per device; this module starts no processes. DDP does not wrap
the model: `average_gradients` averages the gradients after the backward pass. A rank whose batch leaves
parameters unused, or has no pairs to contrast, still joins the collective, so no rank hangs.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_TIMEOUT_S = 600.0
"""Timeout of a collective in seconds: it raises if a rank does not enter it."""


def make_fabric(accelerator: str = "auto", precision: str = "fp32") -> Fabric:
    """Fabric, launched, on the device of this process; DDP if the launcher started more than one process.

    Args:
        accelerator: "auto", "cpu" or "cuda".
        precision: "fp32", "bf16" or "fp16" (autocast; weights stay float32). fp16 needs a GPU.

    Raises:
        ValueError: the precision is unknown, or precision or accelerator needs a GPU and there is none.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "trainer.accelerator is cuda, and torch finds no GPU: see `lidardistill doctor`, or set it to cpu"
        )
    if precision == "fp16" and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise ValueError("trainer.precision fp16 needs a GPU: set bf16 or fp32")
    local, nodes = launched_processes()

    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    chosen: Any = "auto" if local * nodes == 1 else DDPStrategy(timeout=timedelta(seconds=_TIMEOUT_S))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=nodes,
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        strategy=chosen,
    )
    fabric.launch()
    return fabric


def launched_processes() -> tuple[int, int]:
    """(processes on this node, nodes) from torchrun's or SLURM's environment; (1, 1) without a launcher."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        local = int(env["LOCAL_WORLD_SIZE"])
        return local, int(env["WORLD_SIZE"]) // local
    # A SLURM shell (salloc, srun --pty bash) also sets SLURM_NTASKS but starts only one process.
    if "SLURM_PROCID" in env and env.get("SLURM_JOB_NAME") not in (None, "bash", "interactive"):
        nodes = int(env.get("SLURM_NNODES", 1))
        return int(env.get("SLURM_NTASKS", 1)) // nodes, nodes
    return 1, 1


def world_size() -> int:
    """Number of processes of this run; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_objects(value: Any) -> list[Any]:
    """Gather a small picklable value from every rank, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def average_gradients(params: list[nn.Parameter], extra: Tensor) -> Tensor:
    """Replace every gradient by its mean over the ranks, in one collective.

    A parameter without a gradient on this rank counts as zero. A NaN on one rank becomes NaN on all ranks,
    so all ranks take the same decision about the step.

    Args:
        params: parameters, the same on every rank.
        extra: (E,) float32, averaged with the gradients.

    Returns:
        The mean of `extra`.
    """
    count = world_size()
    if count == 1:
        return extra
    for param in params:
        if param.grad is None:
            param.grad = torch.zeros_like(param)
    grads = [param.grad for param in params if param.grad is not None]
    flat = torch.cat([extra.float(), *(grad.flatten().float() for grad in grads)])
    dist.all_reduce(flat)
    flat /= count
    first = extra.numel()
    for grad in grads:
        grad.copy_(flat[first : first + grad.numel()].view_as(grad))
        first += grad.numel()
    return flat[: extra.numel()].to(extra.dtype)


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Give every rank the weights and buffers of rank 0."""
    if world_size() == 1:
        return
    for value in [*module.parameters(), *module.buffers()]:
        dist.broadcast(value.data, src=0)


def pick_device(accelerator: str) -> torch.device:
    """Device of an accelerator name; `auto` takes a GPU if there is one."""
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "accelerator: cuda was asked for and torch sees no GPU; set it to cpu, or see `lidardistill "
            "doctor`"
        )
    return torch.device(accelerator)
