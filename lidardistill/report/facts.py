"""The end of a page: the runs, their machines and versions, and a glossary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from lidardistill.report.runs import Arm, Part

WORDS = (
    ("superpixel", "A patch of similar pixels in an image, found without labels (SLIC)."),
    (
        "pair",
        "A LiDAR point and the pixel at the same place. Training pulls points and pixels of one superpixel "
        "together and pushes all others apart.",
    ),
    ("teacher", "A frozen image network. It is never trained; only the linear layer behind it is."),
    ("student", "The LiDAR network that is pretrained."),
    (
        "contrastive loss",
        "Low when a group of points (or a point, or a cell) finds its own partner among N candidates; "
        "guessing gives log N.",
    ),
    (
        "linear probe",
        "One linear layer, trained with labels on the frozen network. Its score measures the features.",
    ),
    (
        "IoU, mIoU",
        "Intersection over union of predicted and true points of a class; the mean over 16 classes.",
    ),
    ("random", "The same network with its first, random weights, probed in the same way."),
    (
        "permuted",
        "A control: pretrained on random pairs, drawn anew at every step, which teach nothing.",
    ),
    (
        "effective rank",
        "The number of directions that the features use; 1 means that they collapsed into one.",
    ),
    (
        "joint PCA",
        "The three main directions of the student and teacher features together, as red, green and blue. "
        "The same colour means similar features, in the LiDAR scan and in the image.",
    ),
)


def facts(arms: Sequence[Arm], summary: dict[str, Any]) -> str:
    """A table of the runs, where they ran, and the demo's stages where its summary is there."""
    parts = [(arm, part) for arm in arms for part in arm.parts.values()]
    table = (
        '<table><tr><th>run</th><th>command</th><th>code and data</th><th class="number">seed</th>'
        '<th class="number">time</th><th class="number">memory</th></tr>'
        f"{''.join(_row(*pair) for pair in parts)}</table>"
    )
    places = dict.fromkeys(_place(_last_session(part)) for _, part in parts)
    machines = "".join(f"<p>Ran on {escape(place)}.</p>" for place in places if place)
    return f"<h2>How these runs were made</h2>{table}{machines}{_stages(summary)}"


def glossary() -> str:
    entries = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in WORDS)
    return f"<h2>What the words mean</h2><dl>{entries}</dl>"


def _last_session(part: Part) -> dict[str, Any]:
    sessions = [s for s in part.manifest.get("sessions", []) if isinstance(s, dict)]
    return sessions[-1] if sessions else {}


def _place(session: dict[str, Any]) -> str:
    """Machine and versions of one session in words; empty where they were not recorded."""
    machine, versions = session.get("machine") or {}, session.get("versions") or {}
    if not machine and not versions:
        return ""
    gpus = ", ".join(machine.get("gpus") or ["no GPU"])
    known = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    return f"{machine.get('cores', '?')} cores of {machine.get('processor', '?')}, {gpus}, with {known}"


def _row(arm: Arm, part: Part) -> str:
    last = _last_session(part)
    git = last.get("git") or {}
    commit = str(git.get("commit") or "unknown")[:10]
    code = f"commit <code>{escape(commit)}</code>{' with changes' if git.get('dirty') else ''}"
    data = part.config.get("data") or {}
    if data.get("dataroot"):
        code += f"<br><code>{escape(str(data['dataroot']))}</code> {escape(str(data.get('version', '')))}"
    seed = part.manifest.get("seed", part.config.get("seed", "?"))
    name = f"<b>{escape(arm.label)}</b><br>{part.verb}, {escape(str(last.get('outcome', 'not recorded')))}"
    sessions = [s for s in part.manifest.get("sessions", []) if isinstance(s, dict)]
    return (
        f"<tr><td>{name}</td><td><code>{escape(str(last.get('command', 'not recorded')))}</code></td>"
        f"<td>{code}</td>"
        f'<td class="number">{escape(str(seed))}</td><td class="number">{_duration(sessions, part)}</td>'
        f'<td class="number">{_memory(sessions)}</td></tr>'
    )


def _duration(sessions: Sequence[dict[str, Any]], part: Part) -> str:
    """Time of all sessions of a run; if they record none, that of the last line of metrics."""
    total = 0.0
    for session in sessions:
        try:
            span = datetime.fromisoformat(session["end"]) - datetime.fromisoformat(session["start"])
        except (KeyError, TypeError, ValueError):
            continue
        total += span.total_seconds()
    if not total and part.history:
        total = float(part.history[-1].get("seconds") or 0)
    if not total:
        return "?"
    return (
        f"{total:.0f} s"
        if total < 120
        else f"{total / 60:.1f} min"
        if total < 7200
        else f"{total / 3600:.1f} h"
    )


def _memory(sessions: Sequence[dict[str, Any]]) -> str:
    peaks = [session.get("peak_memory") or {} for session in sessions]
    process = max((float(peak.get("process_mb", 0)) for peak in peaks), default=0.0)
    gpu = max((float(peak.get("gpu_mb", 0)) for peak in peaks), default=0.0)
    if not process:
        return "?"
    return f"{process / 1024:.1f} GiB" + (f"<br>{gpu / 1024:.1f} GiB GPU" if gpu else "")


def _stages(summary: dict[str, Any]) -> str:
    seconds, memory = summary.get("seconds") or {}, summary.get("memory_mb") or {}
    if not seconds:
        return ""
    rows = "".join(
        f'<tr><td>{escape(str(name))}</td><td class="number">{value:.0f} s</td>'
        f'<td class="number">{f"{memory[name]:.0f} MiB" if name in memory else ""}</td></tr>'
        for name, value in seconds.items()
        if isinstance(value, (int, float))
    )
    return (
        '<h3>By stage</h3><table><tr><th>stage</th><th class="number">time</th>'
        '<th class="number">peak memory</th></tr>'
        f"{rows}</table>"
    )
