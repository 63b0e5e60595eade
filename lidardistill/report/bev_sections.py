"""The sections of a page about networks that make maps: how well they detect, and what one keyframe looks like to them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from lidardistill.report.bev_scene import BevScene
from lidardistill.report.encode import jpeg_bytes, png_bytes, reduce_colors
from lidardistill.report.palette import class_colors
from lidardistill.report.runs import Arm
from lidardistill.report.scores import bars, figure, signed


def detection_scores(arms: Sequence[Arm]) -> str:
    """NDS of the arms that detect as bars, and mAP and AP of every class as a table."""
    judged = [arm for arm in arms if arm.detection is not None]
    if not judged:
        return ""
    first = judged[0].detection or {}
    place = f" on {escape(str(first.get('split', '')))}, scored by {escape(str(first.get('evaluator', '')))}"
    known = [(arm.name, arm.label, arm.color, 100 * float((arm.detection or {})["nds"])) for arm in judged]
    scores = {name: value for name, _, _, value in known}
    claim = ""
    if {"pretrained", "random"} <= set(scores):
        gain = scores["pretrained"] - scores["random"]
        claim = (
            f'<p class="claim">Pretraining is worth <b>{signed(gain)} NDS</b> to the detector: '
            f"{scores['pretrained']:.1f} and {scores['random']:.1f} without.</p>"
        )
    return (
        f"<h2>Detection</h2>{claim}<h3>nuScenes detection score (NDS) in percent{place}</h3>"
        f"{bars(known, 'NDS', {arm.name: _origin(arm) for arm in judged})}{_table(judged)}"
    )


def _origin(arm: Arm) -> str:
    """How a detector's networks came to their first weights, in a few words."""
    config = arm.parts["detect"].config
    weights = str(config.get("weights", "random"))
    method = (arm.parts["pretrain"].config.get("method") or {}) if "pretrain" in arm.parts else {}
    origin = "pretrained" + (f" by {method['kind']}" if method.get("kind") else "")
    said = "random first weights" if weights == "random" else origin
    if not config.get("camera"):
        return f"LiDAR, {said}"
    cameras = config.get("camera_weights", "random")
    return f"LiDAR, {said}; cameras, {'as the recipe begins' if cameras == 'random' else 'pretrained'}"


def _table(judged: Sequence[Arm]) -> str:
    head = "".join(f'<th class="number">{escape(arm.label)}</th>' for arm in judged)
    rows = [("mAP", [(arm.detection or {}).get("map") for arm in judged])]
    for name in (judged[0].detection or {}).get("ap", {}):
        values = [(arm.detection or {}).get("ap", {}).get(name) for arm in judged]
        rows.append((f"AP of {name.replace('_', ' ')}", values))
    body = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(
            f'<td class="number">{"–" if value is None else f"{100 * value:.1f}"}</td>' for value in values
        )
        + "</tr>"
        for name, values in rows
    )
    return f"<table><tr><th>percent</th>{head}</tr>{body}</table>"


def bev_pictures(arms: Sequence[Arm], quality: int) -> str:
    """Pictures of one detector and of the maps of one run of each pretraining method among some arms."""
    order = sorted(arms, key=lambda arm: arm.name != "pretrained")
    detectors = [arm for arm in order if "detect" in arm.bev_showcases]
    parts = [_of_file(arm, "detect", quality) for arm in detectors[:1]]
    seen: set[str] = set()
    for arm in order:
        if "pretrain" not in arm.bev_showcases:
            continue
        method = str((arm.parts["pretrain"].config.get("method") or {}).get("kind"))
        if method not in seen:
            parts.append(_of_file(arm, "pretrain", quality, regions=not seen))
        seen.add(method)
    return "".join(parts)


def _of_file(arm: Arm, verb: str, quality: int, *, regions: bool = True) -> str:
    try:
        scene = BevScene.read(arm.bev_showcases[verb])
    except ValueError as error:
        return f'<p class="note">{escape(str(error))}</p>'
    where = f"Keyframe {scene.text('sample_token')[:8]} of {scene.text('scene')}, split {scene.text('split')}, by {arm.label}."
    if verb == "detect":
        return (
            f"<h2>What the detector finds</h2><p>{escape(where)}</p>"
            + _detections(scene, quality)
            + _maps(scene)
        )
    method = str((arm.parts["pretrain"].config.get("method") or {}).get("kind"))
    found = figure(
        _plot(scene.clusters_picture()),
        "The scan from above, each region in a colour of its own.",
        "Regions that proposals find without labels: points above the ground that hang together, and are neither too "
        "small nor too long or high for a road user. CALICO pulls the points of one region together.",
    )
    title = f"<h2>What the maps of {escape(method)} look like</h2><p>{escape(where)}</p>"
    return title + (found if regions else "") + _maps(scene)


def _detections(scene: BevScene, quality: int) -> str:
    return figure(
        _plot(scene.detections_bev()),
        "The scan from above with true boxes as grey areas and detections as coloured outlines.",
        "Grey areas: true boxes that hold a point. Outlines: detections, the stroke points forward. A grey area without an "
        "outline was missed, an outline without an area is a false alarm.",
    ) + figure(
        jpeg_bytes(scene.detections_cameras(), quality),
        "All cameras with detections in the colours of their classes and true boxes in white.",
        "The same boxes on the images: detections in the colours of their classes, true boxes as thin white lines.",
    )


def _maps(scene: BevScene) -> str:
    position, parity = (
        ", ".join(f"{value:.2f}" for value in scene[name]) for name in ("position_r2", "parity_r2")
    )
    both = (
        "Cameras and LiDAR share their colours: what matches looks alike. " if len(scene["maps"]) > 1 else ""
    )
    return figure(
        png_bytes(reduce_colors(scene.maps_picture(), 250), 256),
        "The scan from above and, beside it, the network's map as colours.",
        "Each cell in the colours of its features: their three main directions as red, green and blue; cells without "
        f"points are pale. {both}Things of one kind should share a colour wherever they stand. Position alone explains "
        f"{position} (R2) of the three, and {parity} is told by whether row and column are even: a chessboard is a trace of "
        "the network's upsampling and says nothing of the street.",
    )


def _plot(picture: np.ndarray) -> bytes:
    """PNG of a plot in a palette that keeps the colours of the classes."""
    return png_bytes(reduce_colors(picture, 250, rare=True, kept=class_colors()), 256)
