"""Weight files: reading executes no code, names are matched with a report, and a file is written whole or
not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor, nn

from lidardistill.atomic import atomic_write


@dataclass(frozen=True)
class LoadReport:
    """What `load_matching` did.

    Attributes:
        matched: keys of the module that were filled.
        missing: keys of the module that the checkpoint lacks.
        unexpected: keys of the checkpoint, renamed, that the module lacks.
        mismatched: module key with the shape expected and the shape found.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors matched"]
        for name in ("missing", "unexpected", "mismatched"):
            keys = getattr(self, name)
            if keys:
                shown = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
                parts.append(f"{len(keys)} {name} ({shown})")
        return "; ".join(parts)


def load_checkpoint_tensors(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint without running any code that it may carry.

    Args:
        path: `.safetensors`, or a file written by `torch.save` (any age, any depth of dictionaries).

    Returns:
        Tensors on the CPU by name; names of nested dictionaries are joined with dots, so that MoCo's
        `{"state_dict": {"module.encoder_q.conv1.weight": ...}}` gives
        `state_dict.module.encoder_q.conv1.weight`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, holds objects other than plain data (which could run code), or is no
            checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a .safetensors file or one written by torch.save"
        )
    if path.suffix == ".safetensors":
        try:
            return load_safetensors(path.read_bytes())
        except (SafetensorError, ValueError, KeyError) as error:
            raise ValueError(
                f"{path} is truncated or no safetensors file ({error}); copy or download it again"
            ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "nsupported global" in str(error) or "nsupported class" in str(error) or "GLOBAL" in str(error):
            raise ValueError(
                f"{path} holds Python objects and not only tensors; loading them could run code, so it is refused. "
                "If you trust its author, save its state dict alone: torch.save(model.state_dict(), ...)"
            ) from error
        raise ValueError(
            f"{path} is no checkpoint, or a truncated one: expected a torch.save file"
        ) from error
    except (EOFError, RuntimeError, OSError, ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"{path} is truncated or damaged ({str(error).splitlines()[0] if str(error) else 'it ends too early'}); "
            "copy or download it again"
        ) from error
    tensors = dict(_flatten(content)) if isinstance(content, Mapping) else {}
    if not tensors:
        raise ValueError(
            f"{path} holds no tensors by name: expected a state dict, got {type(content).__name__}"
        )
    return tensors


def _flatten(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value.detach()
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")


def load_matching(
    module: nn.Module,
    state: Mapping[str, Tensor],
    rename: Callable[[str], str | None] | None = None,
    *,
    min_share: float = 1.0,
    allow_unexpected: bool = False,
    name: str = "the checkpoint",
) -> LoadReport:
    """Fills a module from tensors by name, and stops loudly where they do not belong together.

    Args:
        module: receives the tensors whose name and shape match.
        state: tensors by name.
        rename: name in `state` to name in `module`, or None to pass over a tensor on purpose.
        min_share: share of the module's tensors that must match, 0..1. Counters of BatchNorm batches may
            always lack.
        allow_unexpected: take a checkpoint that has more than the module.
        name: what to call the checkpoint in messages.

    Returns:
        The report.

    Raises:
        ValueError: no tensor matches; fewer than `min_share`; a shape differs while all must match; tensors
            are left over that are not allowed to be. The module is then as it was.
    """
    renamed = {}
    for key, value in state.items():
        target = key if rename is None else rename(key)
        if target is not None:
            renamed[target] = value
    wanted = module.state_dict()
    matched = [k for k, v in wanted.items() if k in renamed and renamed[k].shape == v.shape]
    mismatched = [
        f"{k} {tuple(v.shape)} but found {tuple(renamed[k].shape)}"
        for k, v in wanted.items()
        if k in renamed and renamed[k].shape != v.shape
    ]
    missing = [k for k in wanted if k not in renamed and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in renamed if k not in wanted]
    report = LoadReport(tuple(matched), tuple(missing), tuple(unexpected), tuple(mismatched))
    share = len(matched) / max(1, len(matched) + len(missing) + len(mismatched))
    kind = type(module).__name__
    if not matched:
        raise ValueError(
            f"{name} and {kind} have no tensor in common: expected names like {next(iter(wanted), '(none)')}, "
            f"got names like {next(iter(state), '(none)')}"
        )
    if share < min_share or (unexpected and not allow_unexpected):
        raise ValueError(f"{name} does not fit {kind}: {report}. Was it made with another architecture?")
    with torch.no_grad():
        for key in matched:
            wanted[key].copy_(renamed[key])
    return report


def save_backbone(path: str | Path, state: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write a state dict as safetensors and a JSON card beside it; each file is whole or absent.

    Args:
        path: file name ending in `.safetensors`.
        state: tensors by name.
        card: plain values; it is also kept inside the safetensors file.

    Returns:
        Path of the card.

    Raises:
        ValueError: another ending.
        OSError: the disk is full, say; what stood at `path` is untouched.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a file name that ends in .safetensors")
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    text = json.dumps(dict(card), indent=1)
    with atomic_write(path) as stream:
        stream.write(dump_safetensors(tensors, {"format": "pt", "card": text}))
    card_path = path.with_suffix(".json")
    with atomic_write(card_path) as stream:
        stream.write(text.encode() + b"\n")
    return card_path
