"""Is a nuScenes root complete, readable and calibrated? The tables whole, the files by name, a sample of them opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lidardistill.data.frame import CorruptSample, Frame
from lidardistill.data.images import read_image
from lidardistill.datasets.nuscenes.labels import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import SPLITS, official_scenes
from lidardistill.doctor.finding import Finding
from lidardistill.geometry import pair_points
from lidardistill.geometry.rigid import check_rigid

SAMPLED = 16
"""Keyframes, evenly spread, that are opened."""

LEAST_PAIRED = 0.01
"""Share of a scan's points that each camera should see; in nuScenes it is 9 to 14 % (one real keyframe, measured)."""

MOST_APART_MS = 60.0
"""A LiDAR turn takes 50 ms, and each camera fires while the beam passes it."""

LISTED = 3


def check_data(dataroot: Path, version: str) -> list[Finding]:
    """Check a root, building its index where it has none.

    Args:
        dataroot: nuScenes root.
        version: such as v1.0-trainval.

    Returns:
        Findings; only one where the tables cannot be used.
    """
    try:
        index = NuScenesIndex.open(dataroot, version)
    except (OSError, ValueError) as error:
        return [Finding("error", str(error))]
    found = [
        Finding(
            "ok", f"{dataroot} {version}: {len(index.scene_names)} scenes, {index.num_keyframes} keyframes"
        ),
        _splits(index),
        _files(index),
    ]
    frames, unreadable = _sample(index)
    found += unreadable
    if frames:
        opened = list(frames.values())
        calibration = _calibration(opened)
        found += [_times(opened), calibration]
        if calibration.level == "ok":
            found.append(_pairs(opened))
        found += _labels(index, list(frames))
    return found


def _splits(index: NuScenesIndex) -> Finding:
    present = set(index.scene_names)
    usable = []
    for name in SPLITS:
        scenes = official_scenes(name)
        here = len(present.intersection(scenes))
        if here:
            usable.append(f"{name} {here}" + (f" of {len(scenes)}" if here < len(scenes) else ""))
    if usable:
        return Finding("ok", f"scenes by split: {', '.join(usable)}")
    return Finding("error", f"no scene of {', '.join(SPLITS)} is here: scene names must be nuScenes' own")


def _files(index: NuScenesIndex) -> Finding:
    """Whether what the tables name is there; each folder is listed once, no file is opened."""
    folders: dict[Path, set[str]] = {}
    missing: list[Path] = []
    incomplete = 0
    for row in range(index.num_keyframes):
        lacking = [
            path for path in (index.lidar_path(row), *index.image_paths(row)) if not _there(path, folders)
        ]
        missing += lacking
        incomplete += bool(lacking)
    if missing:
        return Finding(
            "error",
            f"{len(missing)} files of {incomplete} keyframes are missing although the tables name them: "
            f"{_some(missing)}. Unpack the parts that hold them",
        )
    return Finding(
        "ok", f"all {(1 + len(index.channels)) * index.num_keyframes} files of the keyframes are there"
    )


def _there(path: Path, folders: dict[Path, set[str]]) -> bool:
    if path.parent not in folders:
        try:
            with os.scandir(path.parent) as entries:
                folders[path.parent] = {entry.name for entry in entries}
        except OSError:
            folders[path.parent] = set()
    return path.name in folders[path.parent]


def _sample(index: NuScenesIndex) -> tuple[dict[int, Frame], list[Finding]]:
    """Open some keyframes whole, scan and all pictures; the frames by row, and what is wrong with the files.

    A file that is missing is not reported again.
    """
    rows = sampled_rows(index.num_keyframes)
    frames: dict[int, Frame] = {}
    errors: list[Finding] = []
    complete = True
    for row in rows:
        try:
            frame = index.frame(row)
        except FileNotFoundError:
            complete = False
            continue
        except (CorruptSample, OSError) as error:
            errors.append(Finding("error", f"sample {index.sample_token(row)}: {error}"))
            continue
        frames[row] = frame
        for path, size in zip(frame.image_paths, frame.image_size.tolist(), strict=True):
            try:
                read_image(path, (size[0], size[1]))
            except FileNotFoundError:
                complete = False
            except (CorruptSample, OSError) as error:
                errors.append(Finding("error", f"sample {frame.sample_token}: {error}"))
    if complete and not errors:
        return frames, [Finding("ok", f"{len(rows)} keyframes opened: every scan and picture is whole")]
    return frames, errors


def sampled_rows(num_keyframes: int) -> list[int]:
    """At most `SAMPLED` rows, evenly spread, the first and the last among them."""
    count = min(SAMPLED, num_keyframes)
    return np.linspace(0, num_keyframes - 1, count).round().astype(np.int64).tolist()


def _pairs(frames: list[Frame]) -> Finding:
    """Share of the points that each camera sees, over the opened keyframes."""
    seen: Counter[str] = Counter()
    for frame in frames:
        pairing = pair_points(frame.points, frame.lidar2cam, frame.cam2img, frame.image_size)
        views = np.bincount(pairing.pairing_images[:, 0], minlength=len(frame.channels))
        seen.update(dict(zip(frame.channels, views.tolist(), strict=True)))
    points = sum(len(frame.points) for frame in frames)
    shares = {channel: seen[channel] / points for channel in frames[0].channels}
    text = ", ".join(f"{channel} {share:.1%}" for channel, share in shares.items())
    poor = [channel for channel, share in shares.items() if share < LEAST_PAIRED]
    if poor:
        return Finding(
            "warning",
            f"{', '.join(poor)}: less than {LEAST_PAIRED:.0%} of the points fall into the picture; is the calibration "
            f"right? Look with `lidardistill pairs --picture`. ({text})",
        )
    return Finding("ok", f"points paired with {text}")


def _times(frames: list[Frame]) -> Finding:
    apart = {
        channel: max(abs(int(frame.image_timestamps_us[view]) - frame.timestamp_us) for frame in frames) / 1e3
        for view, channel in enumerate(frames[0].channels)
    }
    late = {channel: ms for channel, ms in apart.items() if ms > MOST_APART_MS}
    if late:
        text = ", ".join(f"{channel} {ms:.0f} ms" for channel, ms in late.items())
        return Finding(
            "warning",
            f"cameras far from the LiDAR's time: {text}, expected at most {MOST_APART_MS:.0f} ms; what moves is paired "
            "with the wrong pixels",
        )
    return Finding("ok", f"cameras and LiDAR at most {max(apart.values()):.0f} ms apart")


def _calibration(frames: list[Frame]) -> Finding:
    for frame in frames:
        try:
            check_rigid(frame.lidar2ego, "lidar2ego")
            for channel, transform in zip(frame.channels, frame.lidar2cam, strict=True):
                check_rigid(transform, f"lidar2cam of {channel}")
        except ValueError as error:
            return Finding("error", f"sample {frame.sample_token}: {error}")
    return Finding("ok", "calibration is rigid")


def _labels(index: NuScenesIndex, rows: list[int]) -> list[Finding]:
    """One label for each point of the opened scans? Labels are opened here and in no verb that pretrains."""
    labelled = [row for row in rows if index.lidarseg_path(row) is not None]
    if not labelled:
        return [
            Finding(
                "warning",
                "no lidarseg labels: pretraining does without, probe, finetune and evaluate need them",
            )
        ]
    wrong: list[Finding] = []
    for row in labelled:
        try:
            read_lidarseg(index, row)
        except FileNotFoundError as error:
            text = f"{error} Pretraining does without; probe, finetune and evaluate do not"
            return [*wrong, Finding("warning", text)]
        except (OSError, ValueError) as error:
            wrong.append(Finding("error", str(error)))
    if wrong:
        return wrong
    unlabelled = f", {len(rows) - len(labelled)} have none" if len(labelled) < len(rows) else ""
    return [Finding("ok", f"lidarseg: one label a point in {len(labelled)} opened keyframes{unlabelled}")]


def _some(paths: Iterable[Path]) -> str:
    listed = list(paths)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(map(str, listed[:LISTED])) + more
