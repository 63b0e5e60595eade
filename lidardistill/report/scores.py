"""Sections of a page with figures: scores, scores by class, and curves of pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import fmean
from typing import Any, NamedTuple

from lidardistill.report.draw.curves import Series, health_curves, loss_curves
from lidardistill.report.draw.encode import data_uri, png_bytes
from lidardistill.report.draw.palette import arm_color
from lidardistill.report.runs import Arm

MEANING = {
    "pretrained": "trained on points and image regions that belong together",
    "random": "the same network, never trained",
    "permuted": "pretrained on pairs drawn at random",
    "other_keyframe": "pretrained on the images of another keyframe",
    "color_histogram": "the teacher sees colours alone",
    "random_teacher": "the teacher is a random network",
    "bevcontrast": "trained on two scans of the same place, without cameras",
    "hand_made": "intensity, height and range, no network",
}
"""Role of an arm, and how it differs from the others in a few words."""


class Bar(NamedTuple):
    """One bar of a chart: name, a few words below it, hex colour, score."""

    label: str
    meaning: str
    color: str
    score: float


def figure(picture: bytes, alt: str, caption: str) -> str:
    """A picture inside the page, with what it shows and what to see in it."""
    return (
        f'<figure><img src="{data_uri(picture)}" alt="{escape(alt, quote=True)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def headline(arms: Sequence[Arm], summary: dict[str, Any]) -> str:
    """mIoU of all arms as bars, with the difference to the first, and one sentence."""
    parts = ["<h2>Does pretraining help?</h2>"]
    hand_made = [value for value in summary.get("hand_made", []) if isinstance(value, (int, float))]
    for verb, title in (("probe", "Linear probe on the frozen network"), ("finetune", "Fine-tuned")):
        scores = [(arm, score) for arm in arms if (score := arm.score(verb)) is not None]
        if not scores:
            continue
        known = [Bar(arm.label, MEANING.get(arm.role, ""), arm.color, score) for arm, score in scores]
        if verb == "probe" and hand_made:
            bar = Bar("hand-made", MEANING["hand_made"], arm_color("hand_made"), fmean(hand_made))
            known.append(bar)
        if verb == "probe" and (claim := gain_sentence(scores, "mIoU")):
            parts.append(f'<p class="claim">{claim}</p>')
        parts.append(f"<h3>{title}: mean IoU in percent{judge(arms, verb)}</h3>{bars(known)}")
    if len(parts) > 1:
        return "".join(parts)
    if any(arm.detection is not None or arm.score("mapseg") is not None for arm in arms):
        return ""
    return parts[0] + (
        "<p>None of these runs has a score yet: run <code>lidardistill probe</code> on them.</p>"
    )


def gain_sentence(scores: Sequence[tuple[Arm, float]], unit: str) -> str:
    """The first pretrained arm against the first random one in one sentence; empty without either."""
    by_role: dict[str, float] = {}
    for arm, score in scores:
        by_role.setdefault(arm.role, score)
    if not {"pretrained", "random"} <= set(by_role):
        return ""
    pretrained, random = by_role["pretrained"], by_role["random"]
    gain = pretrained - random
    if gain >= 1:
        sentence = (
            f"Pretraining without labels adds <b>{signed(gain)} {unit}</b>: "
            f"{pretrained:.1f} instead of {random:.1f}"
        )
    else:
        sentence = (
            f"Pretraining gained nothing here: {pretrained:.1f} {unit}, and {random:.1f} with random weights"
        )
    if "permuted" in by_role:
        sentence += f"; with permuted pairs, {by_role['permuted']:.1f}"
    return sentence + "."


def judge(arms: Sequence[Arm], verb: str) -> str:
    """Split and evaluator of a verb's scores, as the end of a heading."""
    for arm in arms:
        metrics = arm.parts[verb].metrics if verb in arm.parts else None
        if metrics:
            place = escape(str(metrics.get("split", "")))
            evaluator = escape(str(metrics.get("evaluator", "")))
            return f" on {place}, scored by {evaluator}" if evaluator else f" on {place}"
    return ""


def bars(known: Sequence[Bar], unit: str = "mIoU") -> str:
    """A bar for each arm, with the difference to the first."""
    first = known[0].score
    full = max(10.0, 10 * -(-max(bar.score for bar in known) // 10))
    rows = []
    for place, bar in enumerate(known):
        difference = "" if place == 0 else f'<span class="difference">{signed(bar.score - first)}</span>'
        width = f"width:{100 * bar.score / full:.1f}%;background:{bar.color}"
        rows.append(
            f'<div class="name">{escape(bar.label)}<small>{escape(bar.meaning)}</small></div>'
            f'<div class="track"><div class="fill" style="{width}"></div></div>'
            f'<div class="value"><b>{bar.score:.1f}</b>{difference}</div>'
        )
    return f'<div class="bars">{"".join(rows)}</div><p class="lead">The full width is {full:.0f} {unit}.</p>'


def classes(arms: Sequence[Arm]) -> str:
    """IoU by class of all arms side by side, best class first."""
    verb = "probe" if any(arm.score("probe") is not None for arm in arms) else "finetune"
    judged = [arm for arm in arms if verb in arm.parts and arm.parts[verb].iou]
    if not judged:
        return ""
    names = list(dict.fromkeys(name for arm in judged for name in arm.parts[verb].iou))
    names.sort(key=lambda name: -(judged[0].parts[verb].iou.get(name) or -1.0))
    cells = []
    for name in names:
        rows = []
        for place, arm in enumerate(judged):
            value = arm.parts[verb].iou.get(name)
            first = " first" if place == 0 else ""
            shown = "–" if value is None else f"{value:.1f}"
            rows.append(
                f'<div class="track"><div class="fill" style="width:{value or 0:.1f}%;'
                f'background:{arm.color}"></div></div>'
                f'<div class="value{first}">{shown}</div>'
            )
        cells.append(
            f'<div class="class"><div>{escape(name.replace("_", " "))}</div>'
            f'<div class="rows">{"".join(rows)}</div></div>'
        )
    caption = "A dash marks a class that is neither labelled nor predicted. The full width is 100 %."
    return (
        f"<h2>Class by class</h2><p>IoU in percent, {'linear probe' if verb == 'probe' else 'fine-tuned'}, "
        f"best class of {escape(judged[0].label)} first.</p>{legend(judged)}"
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
        Series(arm.label, arm.role, arm.color, arm.parts["pretrain"].history)
        for arm in arms
        if "pretrain" in arm.parts and arm.parts["pretrain"].history
    ]
    if not series:
        return ""
    last = [one.lines[-1] for one in series]
    figures = "; ".join(
        f"{one.label}: loss {_number(line, 'loss_window', 'loss')}, log N {_number(line, 'log_candidates')}, "
        f"match {_number(line, 'match_top1', scale=100)} %, "
        f"effective rank {_number(line, 'effective_rank')}"
        for one, line in zip(series, last, strict=True)
    )
    loss = figure(
        png_bytes(loss_curves(series), 64),
        f"Curves of the contrastive loss by step with a dotted line at log N. At the end: {figures}.",
        "A network that guesses stays on the dotted line. The further a curve falls below it, the more often "
        "a point or region finds its partner.",
    )
    health = figure(
        png_bytes(health_curves(series), 64),
        f"Match accuracy and effective rank by step. At the end: {figures}.",
        "Left: a rising curve means learning. Right: a rank near 1 means collapse: all features are alike.",
    )
    return f"<h2>How pretraining went</h2><p>At the end: {escape(figures)}.</p>{loss}{health}"


def _number(line: dict[str, Any], *keys: str, scale: float = 1) -> str:
    for key in keys:
        if isinstance(line.get(key), (int, float)):
            return f"{scale * line[key]:.2f}" if scale == 1 else f"{scale * line[key]:.1f}"
    return "not recorded"
