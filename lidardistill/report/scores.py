"""The sections of a page that hold figures: who scored what, class by class, and how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES
from lidardistill.report.curves import Series, health_curves, loss_curves
from lidardistill.report.encode import data_uri, png_bytes
from lidardistill.report.palette import arm_color
from lidardistill.report.runs import Arm

MEANING = {
    "pretrained": "saw which points and which image regions belong together",
    "random": "the same network, never trained",
    "permuted": "pretrained on pairs drawn at random",
    "other_keyframe": "pretrained on the images of another keyframe",
    "color_histogram": "the teacher knows colours only",
    "random_teacher": "the teacher is a random network",
    "bevcontrast": "saw which cells of two scans are the same place, and no camera",
    "hand_made": "intensity, height and range, no network",
}
"""What sets an arm apart, in a few words."""


def figure(picture: bytes, alt: str, caption: str) -> str:
    """A picture inside the page, with what it shows and what to see in it."""
    return (
        f'<figure><img src="{data_uri(picture)}" alt="{escape(alt, quote=True)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def headline(arms: Sequence[Arm], summary: dict[str, Any]) -> str:
    """mIoU of all arms as bars, with the difference to the first, and one sentence."""
    parts = ["<h2>Is it worth it?</h2>"]
    hand_made = [value for value in summary.get("hand_made", []) if isinstance(value, (int, float))]
    for verb, title in (("probe", "Linear probe on the frozen network"), ("finetune", "Fine-tuned")):
        rows = [(arm.name, arm.label, arm.color, arm.score(verb)) for arm in arms]
        known: list[tuple[str, str, str, float]] = [
            (name, label, color, score) for name, label, color, score in rows if score is not None
        ]
        if not known:
            continue
        if verb == "probe" and hand_made:
            known.append(("hand_made", "hand-made", arm_color("hand_made"), fmean(hand_made)))
        if verb == "probe" and (claim := _claim(known)):
            parts.append(f'<p class="claim">{claim}</p>')
        parts.append(f"<h3>{title}: mean IoU in percent{_judge(arms, verb)}</h3>{bars(known)}")
    if len(parts) == 1 and any(arm.detection is not None for arm in arms):
        return ""
    if len(parts) == 1:
        parts.append(
            "<p>None of these runs has a score yet: run <code>lidardistill probe</code> on them.</p>"
        )
    return "".join(parts)


def _claim(known: Sequence[tuple[str, str, str, float]]) -> str:
    """The finding in one sentence, where there is something to compare."""
    score = {name: value for name, _, _, value in known}
    if not {"pretrained", "random"} <= set(score):
        return ""
    gain = score["pretrained"] - score["random"]
    if gain >= 1:
        said = (
            f"Pretraining without labels is worth <b>{signed(gain)} mIoU</b>: {score['pretrained']:.1f} instead of "
            f"{score['random']:.1f}"
        )
    else:
        said = f"Pretraining gained nothing here: {score['pretrained']:.1f} mIoU, and {score['random']:.1f} at random"
    if "permuted" in score:
        said += f"; with the pairs permuted, {score['permuted']:.1f}"
    return said + "."


def _judge(arms: Sequence[Arm], verb: str) -> str:
    """Where and by whom it was scored."""
    for arm in arms:
        metrics = arm.parts[verb].metrics if verb in arm.parts else None
        if metrics:
            place = escape(str(metrics.get("split", "")))
            judge = escape(str(metrics.get("evaluator", "")))
            return f" on {place}, scored by {judge}" if judge else f" on {place}"
    return ""


def bars(
    known: Sequence[tuple[str, str, str, float]], unit: str = "mIoU", meaning: Mapping[str, str] = MEANING
) -> str:
    """Name, label, colour and score of each arm as bars, with the difference to the first.

    Args:
        known: of each arm.
        unit: what is scored.
        meaning: what sets an arm apart, by its name.
    """
    first = known[0][3]
    full = max(10.0, 10 * -(-max(score for *_, score in known) // 10))
    rows = []
    for place, (name, label, color, score) in enumerate(known):
        apart = meaning.get(name, "")
        difference = "" if place == 0 else f'<span class="difference">{signed(score - first)}</span>'
        rows.append(
            f'<div class="name">{escape(label)}<small>{escape(apart)}</small></div>'
            f'<div class="track"><div class="fill" style="width:{100 * score / full:.1f}%;background:{color}"></div></div>'
            f'<div class="value"><b>{score:.1f}</b>{difference}</div>'
        )
    return f'<div class="bars">{"".join(rows)}</div><p class="lead">The full width is {full:.0f} {unit}.</p>'


def classes(arms: Sequence[Arm]) -> str:
    """IoU by class of all arms side by side, best class first."""
    verb = "probe" if any(arm.score("probe") is not None for arm in arms) else "finetune"
    judged = [arm for arm in arms if verb in arm.parts and arm.parts[verb].iou]
    if not judged:
        return ""
    names = [name for name in CLASSES[1:] if any(name in arm.parts[verb].iou for arm in judged)]
    names.sort(key=lambda name: -(judged[0].parts[verb].iou.get(name) or -1.0))
    cells = []
    for name in names:
        rows = []
        for place, arm in enumerate(judged):
            value = arm.parts[verb].iou.get(name)
            first = " first" if place == 0 else ""
            shown = "–" if value is None else f"{value:.1f}"
            rows.append(
                f'<div class="track"><div class="fill" style="width:{value or 0:.1f}%;background:{arm.color}"></div></div>'
                f'<div class="value{first}">{shown}</div>'
            )
        cells.append(
            f'<div class="class"><div>{escape(name.replace("_", " "))}</div><div class="rows">{"".join(rows)}</div></div>'
        )
    caption = "A dash: the class is neither labelled nor predicted. The full width is 100 %."
    return (
        f"<h2>Class by class</h2><p>IoU in percent, {'linear probe' if verb == 'probe' else 'fine-tuned'}, best class of "
        f"{escape(judged[0].label)} first.</p>{legend(judged)}"
        f'<div class="classes">{"".join(cells)}</div><p class="lead">{caption}</p>'
    )


def signed(value: float) -> str:
    """With its sign, and a minus as long as the plus."""
    return f"{value:+.1f}".replace("-", "−")


def legend(arms: Sequence[Arm]) -> str:
    return (
        '<div class="legend">'
        + "".join(f'<span><i style="background:{arm.color}"></i>{escape(arm.label)}</span>' for arm in arms)
        + "</div>"
    )


def curves(arms: Sequence[Arm]) -> str:
    """Loss, match accuracy and effective rank of the arms that pretrained."""
    series = [
        Series(arm.label, arm.name, arm.color, arm.parts["pretrain"].history)
        for arm in arms
        if "pretrain" in arm.parts and arm.parts["pretrain"].history
    ]
    if not series:
        return ""
    last = [one.lines[-1] for one in series]
    figures = "; ".join(
        f"{one.label}: loss {_number(line, 'loss_window', 'loss')}, log N {_number(line, 'log_candidates')}, match "
        f"{_number(line, 'match_top1', scale=100)} %, effective rank {_number(line, 'effective_rank')}"
        for one, line in zip(series, last, strict=True)
    )
    loss = figure(
        png_bytes(loss_curves(series), 64),
        f"Curves of the contrastive loss by step with a dotted line at log N. At the end: {figures}.",
        "A network that guesses stays on the dotted line; the further below it, the more surely each finds "
        "its partner. Below it is what pretraining learnt.",
    )
    health = figure(
        png_bytes(health_curves(series), 64),
        f"Match accuracy and effective rank by step. At the end: {figures}.",
        "Left: rising is learning. Right: a rank that falls to 1 is collapse, all features pointing one way.",
    )
    return f"<h2>How pretraining went</h2><p>At the end: {escape(figures)}.</p>{loss}{health}"


def _number(line: dict[str, Any], *keys: str, scale: float = 1) -> str:
    for key in keys:
        if isinstance(line.get(key), (int, float)):
            return f"{scale * line[key]:.2f}" if scale == 1 else f"{scale * line[key]:.1f}"
    return "not recorded"
