"""State of a run: `take_state` collects it for a checkpoint, `put_back` restores it on resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lidardistill.engine.distributed import gather_objects, world_size
from lidardistill.engine.optim import EMA

log = logging.getLogger(__name__)


def changing_state(model: nn.Module) -> dict[str, Tensor]:
    """Trainable weights, and buffers of modules in training mode; leaves out a frozen teacher."""
    state = {name: param.detach() for name, param in model.named_parameters() if param.requires_grad}
    for prefix, module in model.named_modules():
        if module.training:
            state.update(module.named_buffers(prefix, recurse=False))
    return state


def take_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    ema: EMA | None,
    progress: Mapping[str, Any],
) -> dict[str, Any]:
    """State of a run between two steps. Every rank must call it, because it gathers all random states."""
    return {
        "model": changing_state(model),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
        "ema": ema.state_dict() if ema is not None else {},
        "random": gather_objects(random_state()),
        "progress": dict(progress),
    }


@torch.no_grad()
def put_back(
    state: Mapping[str, Any],
    rank: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    ema: EMA | None,
) -> dict[str, Any]:
    """Restore the state of `take_state`; returns the progress.

    Raises:
        ValueError: the state belongs to another model.
    """
    current = changing_state(model)
    different = sorted(state["model"].keys() ^ current.keys())
    if different:
        raise ValueError(f"the checkpoint is of another model, weights differ in: {', '.join(different[:5])}")
    for name, value in state["model"].items():
        if value.shape != current[name].shape:
            raise ValueError(
                f"the checkpoint is of another model: {name} has shape {tuple(value.shape)} there, "
                f"{tuple(current[name].shape)} here"
            )
        current[name].copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    if ema is not None:
        ema.load_state_dict(state["ema"])
    if len(state["random"]) == world_size():
        set_random_state(state["random"][rank])
    else:
        log.warning(
            "the run goes on with %d processes instead of %d: the keyframes of a step and torch's random "
            "states are not those of an uninterrupted run",
            world_size(),
            len(state["random"]),
        )
    return dict(state["progress"])


def random_state() -> dict[str, Tensor]:
    """State of torch's random generators on the CPU and, if the run uses it, the GPU."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
