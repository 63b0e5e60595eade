"""Write the arrays for the pictures of any finished run, and say what is left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lidardistill.engine.run_folder import run_values
from lidardistill.showcase.bev_showcase import BEV_SHOWCASE_FILE, write_bev_showcase
from lidardistill.showcase.showcase import SHOWCASE_FILE, write_showcase
from lidardistill.showcase.trained import Trained


def write_pictures(runs: Mapping[Path, Path | None]) -> list[str]:
    """Write the missing and the outdated arrays of some finished runs, of any method and backbone.

    Args:
        runs: pretraining and detection runs, each with a probe run of its backbone or None.

    Returns:
        One sentence for each picture that is left out.
    """
    notes: list[str] = []
    for run, probe_run in runs.items():
        try:
            if run_values(run).get("verb") == "pretrain":
                notes += _of_pretraining(run, probe_run)
            elif not _is_current(run / BEV_SHOWCASE_FILE, run):
                write_bev_showcase(run)
        except (OSError, ValueError, RuntimeError) as error:
            notes.append(f"New pictures of {run}: {_reason(error)}")
    return notes


def _of_pretraining(run: Path, probe_run: Path | None) -> list[str]:
    camera_files = [run / SHOWCASE_FILE, run.parent / SHOWCASE_FILE] if run.name == "pretrain" else []
    camera_files = camera_files or [run / SHOWCASE_FILE]
    has_cameras = any(_is_current(file, run) for file in camera_files)
    has_map = _is_current(run / BEV_SHOWCASE_FILE, run)
    if has_cameras and has_map:
        return []
    trained = Trained.open(run, probe_run)
    notes = []
    if not has_cameras:
        try:
            write_showcase(trained, run / SHOWCASE_FILE)
        except (OSError, ValueError, RuntimeError) as error:
            notes.append(f"Camera pictures of {run}: {_reason(error)}")
    if not has_map:
        write_bev_showcase(run, trained=trained)
    return notes


def _is_current(file: Path, run: Path) -> bool:
    """True if the file is there and not older than the weights or scores of the run."""
    if not file.is_file():
        return False
    results = [path for name in ("backbone.safetensors", "metrics.json") if (path := run / name).is_file()]
    return all(file.stat().st_mtime >= path.stat().st_mtime for path in results)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
