"""A whole world on disk: scenes rendered in parallel, one nuScenes root, there complete or not at all."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.child_processes import Leash, end_with_parent
from lidardistill.datasets.nuscenes.splits import official_scenes
from lidardistill.one_thread import one_thread_for_children
from lidardistill.synthetic.write.nuscenes_writer import write_scene
from lidardistill.synthetic.write.recording import SceneRecording
from lidardistill.synthetic.write.static_tables import Tables, write_tables

Recorder = Callable[..., SceneRecording]
"""`record(name, seed, *, keyframes, image_size, palette)`, as `record_scene`."""

WORLD_FILE = "world.json"

WORLD_FORMAT = 2
"""Raised whenever the same parameters give other bytes, so that an old world is not taken for a new one."""


def write_world(
    out: Path | str,
    *,
    train_scenes: int = 8,
    val_scenes: int = 2,
    keyframes: int = 8,
    seed: int = 0,
    image_size: tuple[int, int] = (450, 800),
    palette: str = "natural",
    workers: int = 2,
    on_progress: Callable[[int, int, str], None] | None = None,
    record: Recorder | None = None,
) -> Path:
    """Writes an embedded driving world as a nuScenes `v1.0-mini` root.

    Scenes carry the names of the official mini split, so that `mini_train` and `mini_val` of nuscenes-devkit
    apply. The devkit asks for every scene of a split it evaluates: 2 validation scenes for `mini_val`. A
    scene depends on `seed` and its own name, not on how many others there are. The same arguments give the
    same bytes, whatever `workers` is.

    Everything is written beside `out` and renamed at the end. Where `out` already holds the world that these
    arguments describe, it is left as it is.

    Args:
        out: folder to create; it may exist if it is empty or holds the same world.
        train_scenes: scenes of `mini_train`, 0..8.
        val_scenes: scenes of `mini_val`, 0..2.
        keyframes: keyframes of each scene.
        seed: other seeds give other worlds.
        image_size: height, width in pixels.
        palette: how the world is coloured, `natural` or `overlapping`.
        workers: processes; with 1 everything happens in the calling one.
        on_progress: called in the calling process after each keyframe with (keyframes done, keyframes in all,
            name of the scene).
        record: renders a scene; must be importable if `workers` > 1. By default it renders the embedded
            world.

    Returns:
        `out`.

    Raises:
        ValueError: on arguments out of range, or if `out` holds something else.
        RuntimeError: if a worker died.
    """
    out = Path(out)
    parameters = _check(train_scenes, val_scenes, keyframes, seed, image_size, palette, workers)
    if _is_finished(out, parameters):
        return out

    jobs = [
        _Job(name, scene_seed(seed, name), seed, keyframes, (image_size[0], image_size[1]), palette)
        for name in parameters["scenes"]
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        staging.chmod(0o777 & ~_umask())  # mkdtemp keeps others out; a data set is to be read
        render = _render_here if min(workers, len(jobs)) == 1 else _render_in_processes
        scenes = render(staging, jobs, record, _Progress(len(jobs) * keyframes, on_progress), workers)
        write_tables(staging, scenes, seed)
        (staging / WORLD_FILE).write_text(json.dumps(parameters, indent=2) + "\n", encoding="ascii")
        try:
            staging.rename(out)
        except OSError:
            if not _is_finished(out, parameters):  # another process may have been faster
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out


def scene_seed(seed: int, name: str) -> int:
    """Derives a scene's seed from the world's.

    Args:
        seed: seed of the world, >= 0.
        name: such as `scene-0061`.

    Returns:
        Seed in 0..2^63 - 1.
    """
    state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _check(
    train_scenes: int,
    val_scenes: int,
    keyframes: int,
    seed: int,
    image_size: tuple[int, int],
    palette: str,
    workers: int,
) -> dict[str, Any]:
    """Checks the arguments; returns what makes the world, as `world.json` holds it."""
    names: list[str] = []
    for argument, asked, split in (
        ("train_scenes", train_scenes, "mini_train"),
        ("val_scenes", val_scenes, "mini_val"),
    ):
        official = official_scenes(split)
        if not 0 <= asked <= len(official):
            raise ValueError(
                f"{argument} must be 0..{len(official)}, because {split} of nuScenes names {len(official)} "
                f"scenes, got {asked}; more keyframes a scene make a larger world"
            )
        names += official[:asked]
    if not names:
        raise ValueError("a world needs at least one scene, got train_scenes=0 and val_scenes=0")
    for argument, value, least in (("keyframes", keyframes, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise ValueError(f"{argument} must be at least {least}, got {value}")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"image_size must be height and width in pixels, both at least 1, got {image_size}")
    return {
        "format": WORLD_FORMAT,
        "train_scenes": train_scenes,
        "val_scenes": val_scenes,
        "keyframes": keyframes,
        "seed": seed,
        "image_size": list(image_size),
        "palette": palette,
        "scenes": sorted(names),  # nuScenes' own order in the database
    }


def _is_finished(out: Path, parameters: dict[str, Any]) -> bool:
    """Tells whether `out` holds this very world; raises if it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    description = out / WORLD_FILE
    if not description.is_file():
        raise ValueError(
            f"{out} exists and is not a world written by lidardistill (it has no {WORLD_FILE}); "
            "name a new folder, or remove this one"
        )
    try:
        found = json.loads(description.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{description} is not JSON ({error}); remove {out}, or name a new folder"
        ) from error
    if found == parameters:
        return True
    found = found if isinstance(found, dict) else {}
    different = [
        f"{key} is {found.get(key)} there and {parameters.get(key)} here"
        for key in parameters
        if found.get(key) != parameters[key]
    ]
    raise ValueError(
        f"{out} holds another world: {'; '.join(different)}; name a new folder, or remove this one"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@dataclass(frozen=True)
class _Job:
    """One scene to render."""

    name: str
    scene_seed: int
    world_seed: int
    keyframes: int
    image_size: tuple[int, int]
    palette: str

    def run(self, root: Path, record: Recorder | None, on_keyframe: Callable[[], None]) -> Tables:
        if record is None:
            # Here, because embree and numba are the renderer's weight, not that of a world already there.
            from lidardistill.synthetic.write.record import record_scene

            record = record_scene
        recording = record(
            self.name,
            self.scene_seed,
            keyframes=self.keyframes,
            image_size=self.image_size,
            palette=self.palette,
        )
        return write_scene(root, recording, seed=self.world_seed, on_keyframe=on_keyframe)


class _Progress:
    """Counts keyframes and passes the count on."""

    def __init__(self, total: int, on_progress: Callable[[int, int, str], None] | None) -> None:
        self.total = total
        self.done = 0
        self.on_progress = on_progress

    def step(self, scene: str) -> None:
        self.done += 1
        if self.on_progress is not None:
            self.on_progress(self.done, self.total, scene)


def _render_here(
    root: Path, jobs: list[_Job], record: Recorder | None, progress: _Progress, workers: int
) -> list[Tables]:
    return [job.run(root, record, functools.partial(progress.step, job.name)) for job in jobs]


def _render_in_processes(
    root: Path, jobs: list[_Job], record: Recorder | None, progress: _Progress, workers: int
) -> list[Tables]:
    """Render one scene a process at a time. An error ends all processes, so that nobody writes when the
    caller cleans up.

    The other processes start after the first keyframe, so that they load the kernels that the first one
    compiled.
    """
    # spawn, not fork: the caller may have started torch's or embree's threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    finished_keyframes = context.SimpleQueue()

    def report() -> None:
        while not finished_keyframes.empty():
            progress.step(finished_keyframes.get())

    with (
        one_thread_for_children(),
        Leash(context) as leash,
        ProcessPoolExecutor(
            min(workers, len(jobs)),
            context,
            initializer=_enter_worker,
            initargs=(finished_keyframes, leash.held),
        ) as pool,
    ):
        try:
            futures = [pool.submit(_run_in_worker, jobs[0], root, record)]
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_EXCEPTION)
                report()
                for future in done:
                    future.result()
                if progress.done and len(futures) == 1:
                    futures += [pool.submit(_run_in_worker, job, root, record) for job in jobs[1:]]
                    waiting |= set(futures[1:])
            report()
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that rendered a scene died, most likely for want of memory; try fewer workers. (A "
                "script of your own must call write_world under `if __name__ == '__main__':`, or with "
                "workers=1.)"
            ) from error
        except BaseException:
            leash.cut()
            raise


_worker: dict[str, Any] = {}
"""What `_enter_worker` left in this process: a queue cannot travel with a job."""


def _enter_worker(finished_keyframes: Any, held: Connection) -> None:
    end_with_parent(held)
    _worker.update(finished_keyframes=finished_keyframes)


def _run_in_worker(job: _Job, root: Path, record: Recorder | None) -> Tables:
    return job.run(root, record, lambda: _worker["finished_keyframes"].put(job.name))
