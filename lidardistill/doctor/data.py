"""Check of a data set: complete, readable and calibrated. It reads all tables, looks up every file by name,
and opens a sample of the keyframes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lidardistill.data.frame import CorruptSample, Frame
from lidardistill.data.images import read_image
from lidardistill.datasets.base import Source
from lidardistill.datasets.files import missing_files
from lidardistill.datasets.kinds import SourceConfig, open_source
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.datasets.labelled import PointLabels
from lidardistill.datasets.scan_layout import check_scan
from lidardistill.doctor.finding import Finding
from lidardistill.geometry import pair_points
from lidardistill.geometry.rigid import check_rigid

SAMPLED = 16
"""Number of keyframes to open, evenly spaced."""

LEAST_PAIRED = 0.01
"""Smallest share of a scan's points that each camera should see. On nuScenes it is 9 to 14 % (measured on one
real keyframe).
"""

MOST_APART_MS = 60.0
"""Largest plausible time between scan and picture. A LiDAR turn takes 50 ms, and each camera fires while the
beam passes it.
"""

LISTED = 3


def check_data(config: SourceConfig) -> list[Finding]:
    """Check a data set; build its index if there is none.

    Args:
        config: kind and place of the data set.

    Returns:
        Findings; only one if the data set cannot be opened.
    """
    try:
        source = open_source(config)
    except (OSError, ValueError) as error:
        return [Finding("error", str(error))]
    scenes = len({source.scene_name(row) for row in range(len(source))})
    found = [
        Finding("ok", f"{source!r}: {scenes} scenes, {len(source)} keyframes"),
        _splits(source),
        _files(source),
    ]
    rows = sampled_rows(len(source))
    frames, unreadable = _sample(source, rows)
    found += unreadable
    found += _layouts(source, rows)
    if frames:
        opened = list(frames.values())
        calibration = _calibration(opened)
        found += [*_non_finite(opened), _times(opened), calibration, *_lenses(opened)]
        if calibration.level == "ok":
            found.append(_pairs(opened))
        found += _labels(source, list(frames))
    return found


def _splits(source: Source) -> Finding:
    usable = [
        f"{name} {here}" + (f" of {count}" if here < count else "")
        for name, (here, count) in source.splits().items()
        if here
    ]
    if usable:
        return Finding("ok", f"scenes by split: {', '.join(usable)}")
    return Finding(
        "ok",
        "no scene of an official split is here: name data.split=all, or a .txt file with a scene name a line",
    )


def _files(source: Source) -> Finding:
    """Check that every file of the data set exists. Lists each folder once and opens no file."""
    lacking = missing_files(source)
    if lacking:
        missing = [path for paths in lacking.values() for path in paths]
        links = sum(path.is_symlink() for path in missing)
        dangling = f" ({links} of them are links to nowhere: is a disk not mounted?)" if links else ""
        return Finding(
            "error",
            f"{len(missing)} files of {len(lacking)} keyframes are missing although the data set names "
            f"them{dangling}: {_some(missing)}. Unpack the parts that hold them, or leave out their scenes "
            "with "
            "data.missing=skip",
        )
    return Finding(
        "ok", f"all {sum(len(source.files(r)) for r in range(len(source)))} files of the keyframes are there"
    )


def _sample(source: Source, rows: list[int]) -> tuple[dict[int, Frame], list[Finding]]:
    """Open some keyframes with their scan and all pictures; returns frames by row, and errors of the files.

    Missing files are not reported again.
    """
    frames: dict[int, Frame] = {}
    errors: list[Finding] = []
    complete = True
    for row in rows:
        try:
            frame = source.frame(row)
        except FileNotFoundError:
            complete = False
            continue
        except (CorruptSample, OSError) as error:
            errors.append(Finding("error", f"sample {source.sample_token(row)}: {error}"))
            continue
        frames[row] = frame
        for path, size in zip(frame.image_paths, frame.image_size.tolist(), strict=True):
            try:
                read_image(path, (size[0], size[1]))
            except FileNotFoundError:
                complete = False
            except Exception as error:  # decoders raise many types of errors for damaged pictures
                errors.append(Finding("error", f"sample {frame.sample_token}: {_with_path(error, path)}"))
    if complete and not errors:
        return frames, [Finding("ok", f"{len(rows)} keyframes opened: every scan and picture is whole")]
    return frames, errors


def _with_path(error: Exception, path: Path) -> str:
    text = str(error) or type(error).__name__
    return text if str(path) in text else f"picture {path} cannot be read: {type(error).__name__}: {text}"


def _layouts(source: Source, rows: list[int]) -> list[Finding]:
    """Check the columns of scans; returns the first finding of each level, with a count."""
    odd = [found for row in rows if (found := check_scan(source, row)) is not None]
    shown = []
    for level in ("error", "warning"):
        of_level = [found for found in odd if found.level == level]
        if of_level:
            more = f" ({len(of_level)} of {len(rows)} opened scans)" if len(of_level) > 1 else ""
            shown.append(Finding(of_level[0].level, f"{of_level[0].text}{more}"))
    return shown


def _non_finite(frames: list[Frame]) -> list[Finding]:
    """Report points that are dropped because they are NaN or infinite."""
    dropped = {frame.lidar_path: int((~frame.kept).sum()) for frame in frames if frame.kept is not None}
    if not dropped:
        return []
    points = sum(len(frame.points if frame.kept is None else frame.kept) for frame in frames)
    return [
        Finding(
            "warning",
            f"{sum(dropped.values())} of {points} points in {len(dropped)} of {len(frames)} opened scans are "
            f"NaN or infinite, such as in {next(iter(dropped))}: they are dropped when a scan is read",
        )
    ]


def _lenses(frames: list[Frame]) -> list[Finding]:
    """Report cameras with lens coefficients."""
    channels = {
        channel: coefficients
        for frame in frames
        if frame.distortion is not None
        for channel, coefficients in zip(frame.channels, frame.distortion, strict=True)
        if coefficients.any()
    }
    if not channels:
        return []
    channel, coefficients = next(iter(channels.items()))
    return [
        Finding(
            "warning",
            f"camera_distortion is not zero for {', '.join(channels)} (such as {channel}: "
            f"{np.trim_zeros(coefficients, 'b').tolist()} as k1 k2 p1 p2 k3): points are paired with pixels "
            "through this lens. If the pictures are undistorted already, set it to zeros. Camera networks "
            "(calico_rad, a detector with cameras) take pinhole cameras and ignore it",
        )
    ]


def sampled_rows(num_keyframes: int) -> list[int]:
    """At most `SAMPLED` rows, evenly spaced, including the first and the last."""
    count = min(SAMPLED, num_keyframes)
    return np.linspace(0, num_keyframes - 1, count).round().astype(np.int64).tolist()


def _pairs(frames: list[Frame]) -> Finding:
    """Check the share of points that each camera sees, over the opened keyframes."""
    seen: Counter[str] = Counter()
    for frame in frames:
        pairing = pair_points(
            frame.points, frame.lidar2cam, frame.cam2img, frame.image_size, distortion=frame.distortion
        )
        views = np.bincount(pairing.pairing_images[:, 0], minlength=len(frame.channels))
        seen.update(dict(zip(frame.channels, views.tolist(), strict=True)))
    points = sum(len(frame.points) for frame in frames)
    shares = {channel: seen[channel] / points for channel in frames[0].channels}
    text = ", ".join(f"{channel} {share:.1%}" for channel, share in shares.items())
    poor = [channel for channel, share in shares.items() if share < LEAST_PAIRED]
    if poor:
        return Finding(
            "warning",
            f"{', '.join(poor)}: less than {LEAST_PAIRED:.0%} of the points fall into the picture; is the "
            f"calibration right? Look with `lidardistill pairs --picture`. ({text})",
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
            f"cameras far from the LiDAR's time: {text}, expected at most {MOST_APART_MS:.0f} ms; what moves "
            "is paired with the wrong pixels",
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


def _labels(source: Source, rows: list[int]) -> list[Finding]:
    """Check that the opened scans have one label for each point. Pretraining commands never open labels."""
    try:
        labels = open_labels(source).points()
    except ValueError as error:
        return [Finding("ok", str(error))]
    labelled = [row for row in rows if _is_labelled(labels, row)]
    if not labelled:
        return [
            Finding(
                "warning",
                "no lidarseg labels: pretraining does without, probe, finetune and evaluate need them",
            )
        ]
    wrong: list[Finding] = []
    try:
        labels.check_tables()
    except (OSError, ValueError) as error:
        wrong.append(
            Finding("error", f"{error} Pretraining does without; probe, finetune and evaluate do not")
        )
    for row in labelled:
        try:
            labels.read(row)
        except FileNotFoundError as error:
            text = f"{error} Pretraining does without; probe, finetune and evaluate do not"
            return [*wrong, Finding("warning", text)]
        except (OSError, ValueError) as error:
            wrong.append(Finding("error", str(error)))
    if wrong:
        return wrong
    unlabelled = f", {len(rows) - len(labelled)} have none" if len(labelled) < len(rows) else ""
    return [Finding("ok", f"lidarseg: one label a point in {len(labelled)} opened keyframes{unlabelled}")]


def _is_labelled(labels: PointLabels, row: int) -> bool:
    try:
        labels.check([row])
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def _some(paths: Iterable[Path]) -> str:
    listed = list(paths)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(map(str, listed[:LISTED])) + more
