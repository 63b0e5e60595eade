"""Checkpoints are written atomically, verified before use, and refused if they belong to another run.

A checkpoint has two files: `step-00001000.pt`, which torch.load(weights_only=True) reads, and
`step-00001000.json` with the size and SHA-256 of the first. The .json file is written last. A .pt file
without a .json file is an unfinished checkpoint and is ignored.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from lidardistill.atomic import atomic_write, write_json_atomic

log = logging.getLogger(__name__)

FORMAT = 1
_MISSING = "(not there)"


def save_checkpoint(
    folder: Path, step: int, state: Mapping[str, Any], config: Mapping[str, Any], *, keep: int = 2
) -> Path:
    """Write the checkpoint of one step, then delete all but the newest `keep`.

    Args:
        folder: folder of the run's checkpoints; created if it does not exist.
        step: number of optimiser steps done.
        state: tensors, numbers and strings, nested in dicts and lists; weights_only=True must accept it.
        config: the resolved config as JSON values; a resumed run must have the same config.
        keep: checkpoints to keep, at least 1.

    Returns:
        The .pt file.

    Raises:
        OSError: the checkpoint cannot be written, for example on a full disk; older checkpoints are kept.
    """
    path = folder / f"step-{step:08d}.pt"
    content = {
        "format": FORMAT,
        "step": step,
        "config": json.loads(json.dumps(config)),
        "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
        "state": dict(state),
    }
    # A run that resumed from an older checkpoint may overwrite a damaged one: delete its .json file first.
    path.with_suffix(".json").unlink(missing_ok=True)
    with atomic_write(path) as stream:
        writer = _HashingWriter(stream)
        try:
            torch.save(content, cast(IO[bytes], writer))
        except Exception as error:
            # torch replaces the OSError of the disk with its own error; raise the OSError instead.
            raise (writer.error or error) from error
    summary = {
        "format": FORMAT,
        "step": step,
        "bytes": writer.size,
        "sha256": writer.digest.hexdigest(),
        "config_digest": config_digest(config),
    }
    write_json_atomic(path.with_suffix(".json"), summary)
    for old in _finished(folder)[max(keep, 1) :]:
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest undamaged checkpoint; warns if a newer one is damaged.

    Returns:
        The .pt file, or None if the folder holds no finished checkpoint.

    Raises:
        ValueError: all checkpoints are damaged. A run never restarts from step 0 without an error.
    """
    candidates = _finished(folder)
    for path in candidates:
        problem = damage(path)
        if problem is None:
            return path
        log.warning("checkpoint %s is damaged and is passed over: %s", path, problem)
    if candidates:
        raise ValueError(
            f"none of the {len(candidates)} checkpoints in {folder} can be used (newest: "
            f"{damage(candidates[0])}). To start over, move the folder away; nothing was changed"
        )
    return None


def damage(path: Path) -> str | None:
    """Damage of a checkpoint file in one line; None if size and SHA-256 match."""
    try:
        summary = json.loads(path.with_suffix(".json").read_text())
        expected_bytes, expected_digest = int(summary["bytes"]), str(summary["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{path.with_suffix('.json').name} cannot be read ({error})"
    if not path.is_file():
        return "the file is missing"
    size = path.stat().st_size
    if size != expected_bytes:
        return f"expected {expected_bytes} bytes, got {size}"
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    if digest.hexdigest() != expected_digest:
        return f"expected SHA-256 {expected_digest[:12]}.., got {digest.hexdigest()[:12]}.."
    return None


def load_checkpoint(
    path: Path, config: Mapping[str, Any] | None = None, *, may_differ: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without running code from the file.

    Args:
        path: the .pt file.
        config: config of the run that loads the checkpoint; None skips the comparison.
        may_differ: dotted keys, or prefixes of keys, that a resumed run may change.

    Returns:
        format, step, config, versions, state.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, is not a checkpoint of this package, holds code, or belongs to
            another config (the message names the keys).
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: no such file")
    if path.with_suffix(".json").exists() and (problem := damage(path)):
        raise ValueError(f"checkpoint {path} is damaged: {problem}. Use an older one from the same folder")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint {path} was refused: it holds Python objects that could run code when loaded, "
            f"and only tensors and plain values are read. ({str(error).splitlines()[0]})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path} cannot be read, it is truncated or no checkpoint: {error}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "state" not in content:
        found = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"checkpoint {path}: expected a lidardistill checkpoint of format {FORMAT}, got {found}. "
            "Weights of other projects go in through --weights"
        )
    if config is not None:
        differences = config_differences(content["config"], config, may_differ=may_differ)
        if differences:
            listed = "\n".join(f"  {line}" for line in differences)
            raise ValueError(
                f"checkpoint {path} belongs to another config:\n{listed}\n"
                "Take the same values to continue this run, or another --out for a new one"
            )
    return content


def config_differences(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, may_differ: tuple[str, ...] = ()
) -> list[str]:
    """One line `a.b: was X, now Y` for every dotted key whose value differs.

    A key is ignored if only one of the two configs has it and both have the mapping around it: another
    version of this package added or removed the key. `run_folder.claim_run` compares such keys with their
    defaults.
    """
    was, now = _flatten(json.loads(json.dumps(saved))), _flatten(json.loads(json.dumps(current)))

    def is_of_a_version(key: str) -> bool:
        parent = key[: key.rfind(".") + 1]
        return (key in was) != (key in now) and all(
            any(other.startswith(parent) for other in keys) for keys in (was, now)
        )

    return [
        f"{key}: was {was.get(key, _MISSING)!r}, now {now.get(key, _MISSING)!r}"
        for key in sorted(was.keys() | now.keys())
        if was.get(key, _MISSING) != now.get(key, _MISSING)
        and not any(key == free or key.startswith(free + ".") for free in may_differ)
        and not is_of_a_version(key)
    ]


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of the config as canonical JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _finished(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    return sorted((path.with_suffix(".pt") for path in folder.glob("step-*.json")), reverse=True)


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value} if prefix else {}
    flat: dict[str, Any] = {}
    for key, child in value.items():
        flat.update(_flatten(child, f"{prefix}.{key}" if prefix else str(key)))
    return flat


class _HashingWriter:
    """File object for torch.save: computes the SHA-256 and keeps the OSError of the disk."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        try:
            self._stream.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()
