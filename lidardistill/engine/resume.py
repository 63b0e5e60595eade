"""Everything a run is, as one state: taken for a checkpoint, put back when it goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lidardistill.engine.distributed import gather_objects, world_size
from lidardistill.engine.optim import EMA

log = logging.getLogger(__name__)


class Stateful(Protocol):
    """Anything with a state of tensors and plain values."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def changing_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights that train and buffers of modules in training mode: a frozen teacher is not stored at every step."""
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
    extra: Mapping[str, Stateful],
) -> dict[str, Any]:
    """The state of a run between two steps. Every rank must call it: random states of all ranks are in it."""
    return {
        "model": changing_state(model),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
        "ema": ema.state_dict() if ema is not None else {},
        "random": gather_objects(_random_state()),
        "progress": dict(progress),
        "extra": {name: value.state_dict() for name, value in extra.items()},
    }


@torch.no_grad()
def put_back(
    state: Mapping[str, Any],
    rank: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    ema: EMA | None,
    extra: Mapping[str, Stateful],
) -> dict[str, Any]:
    """Inverse of `take_state`; returns the progress.

    Raises:
        ValueError: the state is of another model.
    """
    current = changing_state(model)
    _same_names("weights", state["model"], current)
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
    _same_names("state of", state["extra"], extra)
    for name, value in extra.items():
        value.load_state_dict(state["extra"][name])
    if len(state["random"]) == world_size():
        _set_random_state(state["random"][rank])
    else:
        log.warning(
            "the run goes on with %d processes instead of %d: the keyframes of a step and torch's random states "
            "are not those of an uninterrupted run",
            world_size(),
            len(state["random"]),
        )
    return dict(state["progress"])


def _same_names(what: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    different = sorted(there.keys() ^ here.keys())
    if different:
        raise ValueError(f"the checkpoint is of another model, {what} differ in: {', '.join(different[:5])}")


def _random_state() -> dict[str, Tensor]:
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
