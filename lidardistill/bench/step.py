"""`lidardistill bench step`: one training step, part by part."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidardistill.bench.profile.parts import median
from lidardistill.bench.profile.steps import Steps, steps_of

if TYPE_CHECKING:
    from lidardistill.tasks.pretrain.config import PretrainConfig

PARTS = ("data", "student_forward", "rest_of_forward", "backward", "optimizer")
BASELINE = "the same recipe with images decoded and the frozen teacher run at every step, as SLidR does"
SLIDR_CASES = tuple((batch, precision) for batch in (4, 16) for precision in ("fp32", "bf16"))
WARM_UP = 2
TINY = (32, 64)


def run(
    rounds: int = 5,
    dataroot: Path | None = None,
    *,
    cases: Sequence[tuple[int, str]] = SLIDR_CASES,
    rehearse: bool = False,
) -> dict[str, Any]:
    """Time steps of the demo's recipe, and on CUDA steps of the exact SLidR recipe.

    Each round is one step of the product, which reads cached teacher features, and one step of the baseline.

    Args:
        rounds: steps that count, after two that do not.
        dataroot: a nuScenes root, of which up to 16 keyframes are used; None renders two keyframes of a
            world.
        cases: batch size and precision of the steps on CUDA.
        rehearse: take these steps on the CPU with a tiny network and tiny images, to test the command.

    Returns:
        `product` and `baseline` (demo's recipe, all threads of torch): median_ms and iqr_ms of the step, and
        `parts` with the median and IQR of each of `PARTS`; `ratio` of the medians; `slidr`: the same by batch
        size and precision, or "not run" with the reason. spconv's own CPU kernels are no baseline: they have
        no backward pass.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="lidardistill-bench-") as folder:
        root = _world(Path(folder)) if dataroot is None else dataroot
        version, split = _version_and_split(root)
        source = {"dataroot": str(root), "version": version, "split": split}
        size = TINY if rehearse else None
        with ExitStack() as stack:
            steps = [
                _Times(
                    stack.enter_context(steps_of(_demo(source, Path(folder), cached=cached, image_size=size)))
                )
                for cached in (True, False)
            ]
            for _ in range(WARM_UP + rounds):  # in turn, so that other work of the machine slows both
                for way in steps:
                    way.take()
        figures = [way.summary() for way in steps]
        slidr = {
            f"batch {batch}, {precision}": _slidr(source, batch, precision, rounds, rehearse)
            if rehearse or torch.cuda.is_available()
            else "not run: no GPU"
            for batch, precision in cases
        }
    return {
        "name": "step",
        "what": "configs/pretrain/demo.yaml, batch 1, on the CPU",
        "product": {**figures[0], "name": "cached teacher features"},
        "baseline": {**figures[1], "name": BASELINE},
        "ratio": round(figures[1]["median_ms"] / figures[0]["median_ms"], 2),
        "slidr": slidr,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "input": {**source, "dataroot": str(dataroot or "two rendered keyframes, 450x800")},
    }


def _part(path: str) -> str:
    """Which of `PARTS` a part of a step belongs to."""
    outer, _, inner = path.partition("/")
    if outer in ("data wait", "to device"):
        return "data"
    if outer == "forward":
        return "student_forward" if inner.split("/")[0] == "backbone" else "rest_of_forward"
    return "backward" if outer == "backward" else "optimizer"


class _Times:
    """Times of the steps of a run."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.times: list[dict[str, float]] = []

    def take(self) -> None:
        """Take one step."""
        self.times.append(dict.fromkeys(PARTS, 0.0))
        for path, time_ms in self.steps.take().items():
            self.times[-1][_part(path)] += time_ms

    def summary(self) -> dict[str, Any]:
        """Median and IQR of the step and of each part, in milliseconds."""
        kept = self.times[WARM_UP:]
        parts = {part: median([times[part] for times in kept]) for part in PARTS}
        return {**median([sum(times.values()) for times in kept]), "parts": parts}


def _demo(
    source: dict[str, str], cache: Path, *, cached: bool, image_size: Sequence[int] | None
) -> PretrainConfig:
    from lidardistill.config.io import read_shipped, validate
    from lidardistill.tasks.pretrain.config import PretrainConfig

    values = read_shipped("pretrain/demo")
    values["data"].update(source, keyframes=16)
    values["data"]["superpixels"]["cache"] = str(cache / "superpixels")
    values["teacher_cache"] = str(cache / "teacher") if cached else None
    if image_size is not None:
        values["data"]["augment"]["image_size"] = list(image_size)
    return validate(PretrainConfig, values, source="configs/pretrain/demo.yaml")


def _slidr(
    source: dict[str, str], batch_size: int, precision: str, rounds: int, rehearse: bool
) -> dict[str, Any]:
    """Time the exact recipe with a randomly initialised teacher: its speed does not depend on the weights."""
    import torch

    from lidardistill.config.io import read_shipped, validate
    from lidardistill.tasks.pretrain.config import PretrainConfig

    values = read_shipped("pretrain/slidr_minkunet34")
    values["data"].update(source, batch_size=batch_size, num_workers=8, keyframes=16)
    values["teacher"] = {"kind": "resnet50", "weights": None}
    values["trainer"] = {"max_steps": 100, "accelerator": "cuda", "precision": precision}
    if rehearse:
        values["trainer"]["accelerator"] = "cpu"
        values["student"] = {"preset": "mini"}
        values["data"]["num_workers"] = 0
        values["data"]["augment"] = {"image_size": list(TINY)}
        values["teacher"] = {"kind": "color_histogram"}
    with tempfile.TemporaryDirectory(prefix="lidardistill-bench-") as cache:
        values["data"]["superpixels"] = {"cache": cache}  # without it, SLIC would dominate the time
        config = validate(PretrainConfig, values, source="configs/pretrain/slidr_minkunet34.yaml")
        with steps_of(config) as running:
            steps = _Times(running)
            if not rehearse:
                torch.cuda.reset_peak_memory_stats()
            for _ in range(WARM_UP + rounds):
                steps.take()
        peak = None if rehearse else round(torch.cuda.max_memory_allocated() / 2**20)
    figures = steps.summary()
    per_second = round(1e3 * batch_size / figures["median_ms"], 2)
    return {**figures, "keyframes_per_s": per_second, "peak_mib": peak}


def _world(folder: Path) -> Path:
    from lidardistill.synthetic.write.dataset import write_world

    return write_world(folder / "world", train_scenes=1, val_scenes=0, keyframes=2, workers=1)


def _version_and_split(root: Path) -> tuple[str, str]:
    """The first version of a root and the first split that has scenes in it."""
    from lidardistill.datasets.kinds import open_source, source_config

    versions = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    version = versions[0] if versions else "v1.0-trainval"
    splits = [
        name
        for name, (here, _) in open_source(source_config("nuscenes", root, version)).splits().items()
        if here
    ]
    if not splits:
        raise ValueError(f"--dataroot {root}: expected scenes of an official split of nuScenes, got none")
    return version, splits[0]
