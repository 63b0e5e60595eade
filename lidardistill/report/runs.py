"""What lies in the folders that a report is made of. Nothing that is missing or damaged stops it; it is said instead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lidardistill.report.palette import arm_color

VERBS = ("pretrain", "probe", "finetune", "detect")
CHANCE_ARMS = ("random", "permuted", "other_keyframe")


@dataclass
class Part:
    """One run folder: a pretraining, a probe, a fine-tuning, or a detector.

    Attributes:
        verb: which of them.
        folder: where it lies.
        config: values of config.yaml.
        metrics: values of metrics.json; None where it is not there.
        history: lines of metrics.jsonl.
        manifest: values of manifest.json.
    """

    verb: str
    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any] | None
    history: list[dict[str, Any]]
    manifest: dict[str, Any]

    @property
    def miou(self) -> float | None:
        """Percent."""
        value = (self.metrics or {}).get("miou")
        return 100 * value if isinstance(value, (int, float)) else None

    @property
    def iou(self) -> dict[str, float | None]:
        """Percent by class name."""
        found = (self.metrics or {}).get("iou") or {}
        return {name: None if value is None else 100 * value for name, value in found.items()}


@dataclass
class Arm:
    """What belongs together: one backbone and how it was judged.

    Attributes:
        name: folder name, such as pretrained.
        label: name that is unique on the page.
        color: hex.
        parts: by verb.
        showcase: file of `engine.showcase`, if there.
        bev_showcases: files of `engine.bev_showcase` by verb, where they are.
        missing: what a complete arm would hold besides, in words.
    """

    name: str
    label: str
    color: str
    parts: dict[str, Part]
    showcase: Path | None
    bev_showcases: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def score(self, verb: str) -> float | None:
        return self.parts[verb].miou if verb in self.parts else None

    @property
    def detection(self) -> dict[str, Any] | None:
        """What the evaluator of detections said."""
        metrics = self.parts["detect"].metrics if "detect" in self.parts else None
        return metrics if isinstance((metrics or {}).get("nds"), float) else None


def read_arms(folders: Sequence[Path]) -> tuple[list[Arm], list[str]]:
    """Read arm folders and plain run folders.

    Args:
        folders: each holds pretrain/, probe/, finetune/, detect/, or is one of them.

    Returns:
        The arms that hold anything, and a sentence for each folder that does not.

    Raises:
        ValueError: none of them holds a run.
    """
    arms: list[Arm] = []
    notes: list[str] = []
    labels = _labels([Path(folder) for folder in folders])
    for folder, label in zip(map(Path, folders), labels, strict=True):
        parts = _parts(folder)
        if not parts:
            notes.append(f"{label}: {folder} holds no run")
            continue
        showcase = next(
            (p for p in (folder / "showcase.npz", folder.parent / "showcase.npz") if p.is_file()), None
        )
        bev = {verb: part.folder / "bev_showcase.npz" for verb, part in parts.items()}
        bev = {verb: path for verb, path in bev.items() if path.is_file()}
        arm = Arm(folder.name, label, arm_color(folder.name, len(arms)), parts, showcase, bev)
        arm.missing = _missing(arm)
        arms.append(arm)
    if arms and all(arm.showcase is None and not arm.bev_showcases for arm in arms):
        notes.append("showcase.npz of any arm: no pictures of a keyframe")
    if not arms:
        raise ValueError(
            f"nothing to report: expected run folders of pretrain, probe, finetune or detect, or folders that hold them under "
            f"these names; got {', '.join(map(str, folders)) or 'none'}"
        )
    return arms, notes


def map_runs(folders: Sequence[Path]) -> list[Path]:
    """Finished runs among some folders, or inside them, whose networks make bird's-eye-view maps."""
    found = []
    for folder in map(Path, folders):
        for part in _parts(folder).values():
            student = part.config.get("student") or {}
            finished = part.verb == "detect" and part.metrics is not None
            finished |= part.verb == "pretrain" and (part.folder / "backbone.safetensors").is_file()
            if finished and student.get("kind") == "lidar_bev":
                found.append(part.folder)
    return found


def read_summary(folders: Sequence[Path]) -> dict[str, Any]:
    """The `summary.json` beside the runs, else what a folder `hand_made` beside them says; empty where there is none."""
    for parent in dict.fromkeys(Path(folder).parent for folder in folders):
        summary = _json(parent / "summary.json")
        metrics = _json(parent / "hand_made" / "metrics.json")
        if "hand_made" not in summary and isinstance(metrics.get("miou"), float):
            summary["hand_made"] = [100 * metrics["miou"]]
        if summary:
            return summary
    return {}


def _labels(folders: Sequence[Path]) -> list[str]:
    """Folder names, with the parent's in front where two would be the same."""
    names = [folder.name for folder in folders]
    return [
        name if names.count(name) == 1 else f"{folder.resolve().parent.name}/{name}"
        for folder, name in zip(folders, names, strict=True)
    ]


def _parts(folder: Path) -> dict[str, Part]:
    own = _part(folder, None)
    if own is not None:
        return {own.verb: own}
    found = (_part(folder / verb, verb) for verb in VERBS)
    return {part.verb: part for part in found if part is not None}


def _part(folder: Path, verb: str | None) -> Part | None:
    """A run folder; None where it is none. Without a config, the name of the subfolder tells what it is."""
    names = ("config.yaml", "metrics.json", "metrics.jsonl", "manifest.json")
    if not any((folder / name).is_file() for name in names):
        return None
    config = _yaml(folder / "config.yaml")
    verb = config.get("verb") or verb
    if verb not in VERBS:
        return None
    metrics = _json(folder / "metrics.json")
    return Part(
        verb,
        folder,
        config,
        metrics or None,
        _json_lines(folder / "metrics.jsonl"),
        _json(folder / "manifest.json"),
    )


def _missing(arm: Arm) -> list[str]:
    missing = []
    judge = next((arm.parts[verb] for verb in ("probe", "detect") if verb in arm.parts), None)
    weights = "" if judge is None else str(judge.config.get("weights", ""))
    if "pretrain" in arm.parts:
        if not arm.parts["pretrain"].history:
            missing.append("metrics.jsonl of the pretraining: no curves")
    elif weights != "random" and arm.name != "random":
        missing.append("the pretraining run: no curves")
    for verb in ("probe", "finetune", "detect"):
        if verb in arm.parts and arm.parts[verb].metrics is None:
            missing.append(f"metrics.json of {verb}: it has not finished, no score")
    if not {"probe", "finetune", "detect"} & set(arm.parts):
        missing.append("a probe: no score")
    return missing


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines; the last one of a killed run may be cut short."""
    lines = []
    try:
        text = path.read_text()
    except (OSError, ValueError):
        return []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            lines.append(content)
    return lines
