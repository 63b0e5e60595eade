"""One self-contained HTML page about some runs: figures first, then pictures, then how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from lidardistill.atomic import atomic_write
from lidardistill.report.bev_sections import bev_pictures, detection_scores, map_pictures, map_scores
from lidardistill.report.draw.encode import jpeg_bytes, png_bytes, reduce_colors
from lidardistill.report.draw.palette import class_colors
from lidardistill.report.facts import facts, glossary
from lidardistill.report.runs import Arm, read_arms, read_summary
from lidardistill.report.scene import Scene
from lidardistill.report.scores import classes, curves, figure, headline
from lidardistill.report.theme import STYLE

MAX_BYTES = 5_000_000
_QUALITIES = (86, 76, 64, 50)


def write_page(
    runs: Sequence[Path],
    out: Path,
    title: str = "LiDAR pretraining from cameras",
    notes: Sequence[str] = (),
) -> Path:
    """Write a report.

    Args:
        runs: run folders, or folders with runs named by verb (pretrain/, ...). Missing files are named.
        out: the HTML file. It needs no network, no script and no other file.
        title: of the page.
        notes: sentences about pictures that are left out.

    Returns:
        `out`.

    Raises:
        ValueError: none of the folders holds a run.
        OSError: the page cannot be written.
    """
    arms, unknown = read_arms(runs)
    summary = read_summary(runs)
    scores = (
        headline(arms, summary) + detection_scores(arms) + map_scores(arms) + classes(arms) + curves(arms)
    )
    end = _missing(arms, [*unknown, *notes]) + facts(arms, summary) + glossary()
    shown = _arm_with_scene(arms)
    page = b""
    for quality in _QUALITIES:
        pictures, problem = _pictures(shown, quality)
        pictures += bev_pictures(arms, quality) + map_pictures(arms)
        page = _document(title, arms, scores + problem + pictures + end).encode()
        if len(page) < MAX_BYTES:
            break
    with atomic_write(Path(out)) as stream:
        stream.write(page)
    return Path(out)


def _document(title: str, arms: Sequence[Arm], body: str) -> str:
    about = ", ".join(arm.label for arm in arms)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1><p class="lead">Runs: {escape(about)}.</p>\n{body}\n</body></html>\n'
    )


def _arm_with_scene(arms: Sequence[Arm]) -> Arm | None:
    """The arm whose pictures are shown: `pretrained`, else the first that has any."""
    having = [arm for arm in arms if arm.showcase is not None]
    return next((arm for arm in having if arm.role == "pretrained"), having[0] if having else None)


def _missing(arms: Sequence[Arm], notes: Sequence[str]) -> str:
    lines = [*notes, *(f"{arm.label}: {what}" for arm in arms for what in arm.missing)]
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>Not here</h2><p>The page lacks these files or pictures:</p><ul>{items}</ul>"


def _pictures(arm: Arm | None, quality: int) -> tuple[str, str]:
    """The sections with pictures of one arm, and a note where its file cannot be read."""
    if arm is None or arm.showcase is None:
        return "", ""
    try:
        scene = Scene.read(arm.showcase)
    except ValueError as error:
        return "", f'<p class="note">{escape(str(error))}</p>'
    where = f"keyframe {scene.text('sample_token')[:8]} of {scene.text('scene')}, split {scene.text('split')}"
    parts = [
        f"<h2>The input of pretraining</h2><p>One {escape(where)}. "
        f"The network {escape(arm.label)} was not trained on it.</p>"
        if scene.text("split").endswith("val")
        else f"<h2>The input of pretraining</h2><p>One {escape(where)}.</p>",
        figure(
            jpeg_bytes(scene.regions_picture(), quality),
            "The front camera with white borders of superpixels, and the same with LiDAR points on it.",
            "White lines: borders of superpixels, found without labels. Dots: LiDAR points. The points and "
            "the pixels inside one outline are a positive pair; all other combinations are negative.",
        ),
        figure(
            jpeg_bytes(scene.pairs_picture(), quality),
            "All cameras with white borders around superpixels and LiDAR points coloured by depth.",
            "All cameras of the keyframe. The colour of a LiDAR point shows its depth.",
        ),
        _features(scene, quality),
        _similarity(scene, quality),
        _segmentation(scene),
    ]
    return "".join(parts), ""


def _features(scene: Scene, quality: int) -> str:
    r2 = scene["position_r2"]
    values = ", ".join(f"{value:.2f}" for value in r2)
    if scene.is_positional():
        remark = (
            '<p class="note">Caution: at least one of the three colours mostly shows position. The position '
            f"x, y, z explains {values} of the three (R2, linear fit; 1 is all). "
            "A smooth gradient is then no sign of meaning.</p>"
        )
    else:
        remark = (
            "<p>Position alone does not explain these colours: a linear fit on x, y, z has an R2 of "
            f"{values} for the three (1 would be all).</p>"
        )
    return (
        "<h2>The features as colours</h2><p>Student and teacher features lie in one space. Red, green and "
        f"blue show the three main directions of this space.</p>{remark}"
        + figure(
            jpeg_bytes(scene.features_picture(), quality),
            "Three cameras: photograph, teacher features as colours, LiDAR features as colours.",
            "The LiDAR points (bottom) should have the colours of the image features behind them (middle).",
        )
        + figure(
            jpeg_bytes(scene.features_bev(), quality),
            "The scan from above, points in the colours of their features.",
            "Objects of one kind should share a colour, near or far, left or right.",
        )
    )


def _similarity(scene: Scene, quality: int) -> str:
    thing = f"the ringed {scene.query_class or 'point'}"
    return (
        f"<h2>Similarity to {escape(thing)}</h2>"
        + figure(
            jpeg_bytes(scene.similarity_cameras(), quality),
            f"Cameras coloured by their similarity to {thing}.",
            "Bright pixels have image features similar to the LiDAR feature of the ringed point.",
        )
        + figure(
            _plot(scene.similarity_bev()),
            f"The scan from above, coloured by similarity to {thing}.",
            "Bright LiDAR points have features similar to those of the ringed point. Other objects of its "
            "kind should be bright, and their surroundings dark.",
        )
    )


def _segmentation(scene: Scene) -> str:
    if not scene.is_labelled:
        return ""
    said = (
        f"The linear probe predicts {100 * scene.accuracy:.1f} % of the labelled points correctly."
        if scene.is_predicted
        else "This run has no probe, so the picture shows labels alone."
    )
    return f"<h2>Predictions and labels</h2><p>{said}</p>" + figure(
        _plot(scene.segmentation_bev()),
        "The scan from above: predicted classes, true classes, and their differences.",
        "Ground is pale, buildings and plants are dark, moving things are saturated; small things have "
        "markers of their own.",
    )


def _plot(picture: np.ndarray) -> bytes:
    """PNG of a plot, a third as large in a palette that keeps the colours of the classes."""
    return png_bytes(reduce_colors(picture, 250, rare=True, kept=class_colors()), 256)
