"""Weight files: safe reading, matching of names with a report, and atomic writing."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor, nn

from lidardistill.atomic import atomic_write


@dataclass(frozen=True)
class LoadReport:
    """Result of `load_matching`.

    Attributes:
        matched: keys of the module that got a tensor.
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
    """Return the tensors of a checkpoint; no code in the file is executed.

    Args:
        path: see `read_checkpoint`.

    Returns:
        Tensors on the CPU by name. Dots join the names of nested dictionaries: MoCo's
        `{"state_dict": {"module.encoder_q.conv1.weight": ...}}` gives
        `state_dict.module.encoder_q.conv1.weight`.

    Raises:
        FileNotFoundError, ValueError: of `read_checkpoint`.
    """
    return tensors_by_name(read_checkpoint(path))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the contents of a checkpoint; no code in the file is executed.

    Args:
        path: `.safetensors`, or a file written by `torch.save` (any age, any depth of dictionaries).

    Returns:
        Tensors on the CPU and plain values by name, nested as in the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, contains objects that could run code, or has no tensors by name.
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
        if found := _PYTHON_OBJECT.search(str(error)):
            raise ValueError(
                f"{path} holds the Python object {found[1] or found[2]} beside its tensors; loading it "
                f"could run code, so the file is refused. If you trust its author, write a copy that holds "
                f"the state dict alone: load it with torch.load(..., weights_only=False) and save the "
                f"dictionary of tensors with torch.save"
            ) from error
        raise ValueError(
            f"{path} is no checkpoint, or a truncated one: expected a torch.save file"
        ) from error
    except (EOFError, RuntimeError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{path} is truncated or damaged "
            f"({str(error).splitlines()[0] if str(error) else 'it ends too early'}); "
            "copy or download it again"
        ) from error
    if not isinstance(content, Mapping) or not tensors_by_name(content):
        raise ValueError(
            f"{path} holds no tensors by name: expected a state dict, got {type(content).__name__}"
        )
    return dict(content)


def tensors_by_name(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors of nested dictionaries; dots join the names."""
    return dict(_flatten(content))


_PYTHON_OBJECT = re.compile(r"nsupported (?:global|class):? *(?:GLOBAL )?([\w.]+)|GLOBAL ([\w.]+)")
"""Finds the name of the refused object in torch's `weights_only` error message."""


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
    allow_extras: bool = False,
    name: str = "the checkpoint",
) -> LoadReport:
    """Fill a module from tensors by name; refuse tensors that do not belong to it.

    Args:
        module: receives the tensors whose name and shape match.
        state: tensors by name.
        rename: maps a name in `state` to a name in `module`, or to None to skip the tensor.
        min_share: share of the module's tensors that must match, 0..1. BatchNorm's batch
            counters may always be missing.
        allow_extras: accept additional tensors in the checkpoint, such as a classifier or an optimizer's
            state. A tensor inside a part of the module (`layer3.22...` if the module has `layer3`) is still
            refused, because the checkpoint is then from a deeper network.
        name: name of the checkpoint in messages.

    Returns:
        The report.

    Raises:
        ValueError: no tensor matches; fewer than `min_share` match; a shape differs although all must match;
            tensors that are not allowed are left over. The module then keeps its weights.
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
            f"{name} and {kind} have no tensor in common: expected names like "
            f"{next(iter(wanted), '(none)')}, got names like {next(iter(state), '(none)')}"
        )
    parts = {key.split(".")[0] for key in wanted}
    refused = [key for key in unexpected if not allow_extras or key.split(".")[0] in parts]
    if share < min_share or refused:
        raise ValueError(f"{name} does not fit {kind}: {report}. Was it made with another architecture?")
    with torch.no_grad():
        for key in matched:
            wanted[key].copy_(renamed[key])
    return report


def card_path(path: Path) -> Path:
    """Return the path of a file's JSON card: `a.json` for `a.safetensors`, `a.pth.json` for `a.pth`."""
    return path.with_suffix(".json") if path.suffix == ".safetensors" else path.with_name(f"{path.name}.json")


def read_card(path: Path) -> dict[str, Any] | None:
    """Return the card inside a `.safetensors` file of `save_backbone`; None for every other file."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {}).get("card", "null"))
    except (SafetensorError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def save_backbone(path: str | Path, state: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write a state dict as safetensors and a JSON card beside it; each is whole or absent.

    Args:
        path: file name ending in `.safetensors`.
        state: tensors by name.
        card: plain values; the safetensors file also contains them.

    Returns:
        The path of the card.

    Raises:
        ValueError: `path` has another ending.
        OSError: the file cannot be written, for example on a full disk; the old file at `path` is unchanged.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a file name that ends in .safetensors")
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    text = json.dumps(dict(card), indent=1)
    with atomic_write(path) as stream:
        stream.write(dump_safetensors(tensors, {"format": "pt", "card": text}))
    with atomic_write(card_path(path)) as stream:
        stream.write(text.encode() + b"\n")
    return card_path(path)
