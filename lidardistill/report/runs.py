"""Read the run folders of a report. A missing or damaged file never stops the report: the page names it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lidardistill.report.draw.palette import arm_color
from lidardistill.tasks.runs import VERBS

_HAND_MADE_TEACHERS = {
    "color_histogram": "color_histogram",
    "random_efficientnet_lite0": "random_teacher",
}
"""Kind of a control's teacher, and the role of its arm."""


@dataclass
class Part:
    """One run folder.

    Attributes:
        verb: key of `tasks.runs.VERBS`.
        folder: path of the run.
        config: values of config.yaml.
        metrics: values of metrics.json; None if there is no such file.
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
    """One backbone and the runs that judge it.

    Attributes:
        role: pretrained, random, or the name of a control such as permuted; it follows from the configs.
        label: the role; with the method or the folder added if two arms would have the same name.
        color: hex.
        parts: by verb.
        showcase: file of `showcase.showcase`, if it exists.
        bev_showcases: files of `showcase.bev_showcase` by verb, those that exist.
        maps: file with the shown keyframes of a map segmentation run, if it exists.
        missing: sentences about files that a complete arm would hold.
    """

    role: str
    label: str
    color: str
    parts: dict[str, Part]
    showcase: Path | None
    bev_showcases: dict[str, Path] = field(default_factory=dict)
    maps: Path | None = None
    missing: list[str] = field(default_factory=list)

    def score(self, verb: str) -> float | None:
        return self.parts[verb].miou if verb in self.parts else None

    @property
    def detection(self) -> dict[str, Any] | None:
        """Metrics of a finished detection run."""
        metrics = self.parts["detect"].metrics if "detect" in self.parts else None
        return metrics if isinstance((metrics or {}).get("nds"), float) else None


def read_arms(folders: Sequence[Path]) -> tuple[list[Arm], list[str]]:
    """Read arm folders and plain run folders.

    Args:
        folders: run folders, or folders with runs named by verb (pretrain/, probe/, ...).

    Returns:
        The arms with at least one run, and a sentence for each folder without any.

    Raises:
        ValueError: none of them holds a run.
    """
    arms: list[Arm] = []
    notes: list[str] = []
    known: list[tuple[Path, dict[str, Part]]] = []
    for folder in map(Path, folders):
        if parts := _parts(folder):
            known.append((folder, parts))
        else:
            notes.append(f"{folder} holds no run")
    roles = [_role(folder, parts) for folder, parts in known]
    labels = _labels(known, roles)
    for (folder, parts), role, label in zip(known, roles, labels, strict=True):
        pretrained = parts["pretrain"].folder if "pretrain" in parts else folder
        places = (pretrained / "showcase.npz", folder / "showcase.npz", folder.parent / "showcase.npz")
        showcase = next((place for place in places if place.is_file()), None)
        bev = {verb: part.folder / "bev_showcase.npz" for verb, part in parts.items()}
        bev = {verb: path for verb, path in bev.items() if path.is_file()}
        maps = parts["mapseg"].folder / "maps.npz" if "mapseg" in parts else None
        arm = Arm(role, label, arm_color(role, len(arms)), parts, showcase, bev)
        arm.maps = maps if maps is not None and maps.is_file() else None
        arm.missing = _missing(arm)
        arms.append(arm)
    if arms and all(arm.showcase is None and arm.maps is None and not arm.bev_showcases for arm in arms):
        notes.append("showcase.npz of any arm: no pictures of a keyframe")
    if not arms:
        raise ValueError(
            f"nothing to report: expected run folders of {', '.join(VERBS)}, or folders that hold such runs "
            f"under these names; got {', '.join(map(str, folders)) or 'none'}"
        )
    return arms, notes


def finished_runs(folders: Sequence[Path]) -> dict[Path, Path | None]:
    """Find the finished pretraining and detection runs among some folders or inside them.

    Returns:
        Run folder to the folder of a finished probe of its backbone, or None.
    """
    arms = [_parts(Path(folder)) for folder in folders]
    probes = {}
    for parts in arms:
        if "probe" in parts and parts["probe"].metrics is not None:
            weights = Path(str(parts["probe"].config.get("weights", "random")))
            probes[weights.resolve()] = parts["probe"].folder
    found: dict[Path, Path | None] = {}
    for parts in arms:
        if "pretrain" in parts and (parts["pretrain"].folder / "backbone.safetensors").is_file():
            run = parts["pretrain"].folder
            beside = parts["probe"].folder if "probe" in parts else None
            found[run] = beside or probes.get(run.resolve())
        if "detect" in parts and parts["detect"].metrics is not None:
            found[parts["detect"].folder] = None
    return found


def read_summary(folders: Sequence[Path]) -> dict[str, Any]:
    """`summary.json` beside the runs, or the metrics of a folder `hand_made` beside them; else empty."""
    for parent in dict.fromkeys(Path(folder).parent for folder in folders):
        summary = _json(parent / "summary.json")
        metrics = _json(parent / "hand_made" / "metrics.json")
        if "hand_made" not in summary and isinstance(metrics.get("miou"), float):
            summary["hand_made"] = [100 * metrics["miou"]]
        if summary:
            return summary
    return {}


def _role(folder: Path, parts: dict[str, Part]) -> str:
    """Role of an arm by its configs; the folder's name only where no config tells."""
    if "pretrain" in parts:
        return _role_of_pretraining(parts["pretrain"].config) or folder.name
    weights = next((str(part.config["weights"]) for part in parts.values() if "weights" in part.config), "")
    if weights == "random":
        return "random"
    return _role_of_pretraining(_yaml(Path(weights) / "config.yaml")) or folder.name


def _role_of_pretraining(config: dict[str, Any]) -> str:
    """pretrained, or the name of the control; empty if there is no config of a pretraining."""
    method, teacher = config.get("method") or {}, config.get("teacher") or {}
    pairing = method.get("pairing", "real")
    if pairing != "real":
        return str(pairing)
    if teacher.get("kind") in _HAND_MADE_TEACHERS:
        return _HAND_MADE_TEACHERS[teacher["kind"]]
    return "pretrained" if method.get("kind") else ""


def _labels(arms: Sequence[tuple[Path, dict[str, Part]]], roles: Sequence[str]) -> list[str]:
    """Names that are unique on the page: role, then method, then folder."""
    methods = [
        (parts["pretrain"].config.get("method") or {}).get("kind", "") if "pretrain" in parts else ""
        for _, parts in arms
    ]
    labels = list(roles)
    longer = [f"{role} by {method}" if method else role for role, method in zip(roles, methods, strict=True)]
    labels = [b if labels.count(a) > 1 else a for a, b in zip(labels, longer, strict=True)]
    places = [_place(folder) for folder, _ in arms]
    return [
        f"{label} ({place})" if labels.count(label) > 1 else label
        for label, place in zip(labels, places, strict=True)
    ]


def _place(folder: Path) -> str:
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}"


def _parts(folder: Path) -> dict[str, Part]:
    own = _part(folder, None)
    if own is not None:
        return {own.verb: own}
    found = (_part(folder / verb, verb) for verb in VERBS)
    return {part.verb: part for part in found if part is not None}


def _part(folder: Path, verb: str | None) -> Part | None:
    """A run, or None if the folder holds no run. Without a config, the subfolder's name is the verb."""
    names = ("config.yaml", "metrics.json", "metrics.jsonl", "manifest.json")
    if not any((folder / name).is_file() for name in names):
        return None
    config = _yaml(folder / "config.yaml")
    verb = config.get("verb") or verb
    if verb is None or verb not in VERBS:
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
    judges = [verb for verb in VERBS if verb != "pretrain" and verb in arm.parts]
    if "pretrain" in arm.parts:
        if not arm.parts["pretrain"].history:
            missing.append("metrics.jsonl of the pretraining: no curves")
    elif arm.role != "random":
        missing.append("the pretraining run: no curves")
    for verb in judges:
        if arm.parts[verb].metrics is None:
            missing.append(f"metrics.json of {verb}: the run has not finished, so it has no score")
    if not judges:
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
    """Whole lines; a killed run may have cut the last one short."""
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
