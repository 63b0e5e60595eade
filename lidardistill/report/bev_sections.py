"""Sections of a page: detection, map segmentation, and pictures of one keyframe from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from lidardistill.report.bev_scene import BevScene
from lidardistill.report.draw.encode import jpeg_bytes, png_bytes, reduce_colors
from lidardistill.report.draw.map_masks import maps_picture
from lidardistill.report.draw.palette import class_colors
from lidardistill.report.runs import Arm
from lidardistill.report.scores import Bar, bars, figure, gain_sentence, judge


def detection_scores(arms: Sequence[Arm]) -> str:
    """NDS of the arms that detect as bars, and mAP and AP of every class as a table."""
    judged = [(arm, metrics) for arm in arms if (metrics := arm.detection) is not None]
    if not judged:
        return ""
    scores = [(arm, 100 * float(metrics["nds"])) for arm, metrics in judged]
    sentence = gain_sentence(scores, "NDS")
    known = [Bar(arm.label, _origin(arm, "detect"), arm.color, score) for arm, score in scores]
    rows = {"mAP": [metrics.get("map") for _, metrics in judged]}
    for name in judged[0][1].get("ap", {}):
        rows[f"AP of {name.replace('_', ' ')}"] = [metrics.get("ap", {}).get(name) for _, metrics in judged]
    return (
        "<h2>Detection</h2>"
        + (f'<p class="claim">{sentence}</p>' if sentence else "")
        + f"<h3>nuScenes detection score (NDS) in percent{judge(arms, 'detect')}</h3>"
        + bars(known, "NDS")
        + _table([arm for arm, _ in judged], rows)
    )


def map_scores(arms: Sequence[Arm]) -> str:
    """mIoU of the arms that segment maps as bars, and the IoU of every class as a table."""
    judged = [(arm, score) for arm in arms if (score := arm.score("mapseg")) is not None]
    if not judged:
        return ""
    sentence = gain_sentence(judged, "mIoU")
    known = [Bar(arm.label, _origin(arm, "mapseg"), arm.color, score) for arm, score in judged]
    metrics = [arm.parts["mapseg"].metrics or {} for arm, _ in judged]
    rows = {
        name.replace("_", " "): [(one.get("iou") or {}).get(name) for one in metrics]
        for name in metrics[0].get("iou") or {}
    }
    return (
        "<h2>Map segmentation</h2>"
        + (f'<p class="claim">{sentence}</p>' if sentence else "")
        + f"<h3>Mean IoU in percent, each class at its best threshold{judge(arms, 'mapseg')}</h3>"
        + bars(known)
        + _table([arm for arm, _ in judged], rows)
    )


def map_pictures(arms: Sequence[Arm]) -> str:
    """Map and prediction of some keyframes, of the first arm that has them."""
    for arm in arms:
        if arm.maps is None:
            continue
        metrics = arm.parts["mapseg"].metrics or {}
        try:
            picture = maps_picture(arm.maps, metrics["threshold"])
        except (OSError, KeyError, ValueError) as error:
            return f'<p class="note">{escape(f"{arm.maps}: no pictures, {error!r}")}</p>'
        return f"<h2>Maps</h2><p>Keyframes of {escape(arm.label)}.</p>" + figure(
            _plot(picture),
            "Map masks from above, true and predicted, side by side.",
            "Left: the map. Right: cells above the best threshold of their class. The car drives right.",
        )
    return ""


def _origin(arm: Arm, verb: str) -> str:
    """First weights of an arm's networks, in a few words."""
    config = arm.parts[verb].config
    weights = str(config.get("weights", "random"))
    method = (arm.parts["pretrain"].config.get("method") or {}) if "pretrain" in arm.parts else {}
    pretrained = "pretrained" + (f" by {method['kind']}" if method.get("kind") else "")
    lidar = f"LiDAR, {'random first weights' if weights == 'random' else pretrained}"
    if not config.get("camera"):
        return lidar
    cameras = config.get("camera_weights", "random")
    return f"{lidar}; cameras, {'first weights of the recipe' if cameras == 'random' else 'pretrained'}"


def _table(arms: Sequence[Arm], rows: Mapping[str, Sequence[float | None]]) -> str:
    """A column for each arm, a row for each figure: shares of 1 as percent, a dash for a missing one."""
    head = "".join(f'<th class="number">{escape(arm.label)}</th>' for arm in arms)
    body = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f'<td class="number">{"–" if v is None else f"{100 * v:.1f}"}</td>' for v in values)
        + "</tr>"
        for name, values in rows.items()
    )
    return f"<table><tr><th>percent</th>{head}</tr>{body}</table>"


def bev_pictures(arms: Sequence[Arm], quality: int) -> str:
    """Pictures of one detector, and of the feature maps of one run of each pretraining method."""
    order = sorted(arms, key=lambda arm: arm.role != "pretrained")
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
    token, street, split = scene.text("sample_token")[:8], scene.text("scene"), scene.text("split")
    where = f"Keyframe {token} of {street}, split {split}, by {arm.label}."
    if verb == "detect":
        return (
            f"<h2>Detections of one keyframe</h2><p>{escape(where)}</p>"
            + _detections(scene, quality)
            + _maps(scene)
        )
    method = str((arm.parts["pretrain"].config.get("method") or {}).get("kind"))
    found = figure(
        _plot(scene.clusters_picture()),
        "The scan from above; each region has its own colour.",
        "Regions found without labels: connected points above the ground, of the size of a road user. "
        "CALICO trains the points of one region to have similar features.",
    )
    title = f"<h2>Features of {escape(method)} from above</h2><p>{escape(where)}</p>"
    return title + (found if regions else "") + _maps(scene)


def _detections(scene: BevScene, quality: int) -> str:
    return figure(
        _plot(scene.detections_bev()),
        "The scan from above with true boxes as grey areas and detections as coloured outlines.",
        "Grey areas: true boxes with at least one point. Outlines: detections; the stroke points forward. "
        "A grey area without an outline is a miss; an outline without a grey area is a false alarm.",
    ) + figure(
        jpeg_bytes(scene.detections_cameras(), quality),
        "All cameras with detections in the colours of their classes and true boxes in white.",
        "The same boxes on the images: detections in the colours of their classes, true boxes in white.",
    )


def _maps(scene: BevScene) -> str:
    position, parity = (
        ", ".join(f"{value:.2f}" for value in scene[name]) for name in ("position_r2", "parity_r2")
    )
    both = "Both maps share their colours: matching features look alike. " if len(scene["maps"]) > 1 else ""
    return figure(
        png_bytes(reduce_colors(scene.maps_picture(), 250), 256),
        "The scan from above and, beside it, the feature map as colours.",
        "Red, green and blue show the three main directions of the features; cells without points are pale. "
        f"{both}Objects of one kind should share a colour. Position alone explains {position} of the three "
        f"(R2, 1 is all). Even and odd rows and columns explain {parity}: a chessboard pattern comes from "
        "the upsampling of the network and not from the street.",
    )


def _plot(picture: np.ndarray) -> bytes:
    """PNG of a plot in a palette that keeps the colours of the classes."""
    return png_bytes(reduce_colors(picture, 250, rare=True, kept=class_colors()), 256)
