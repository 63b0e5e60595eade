"""`lidardistill bench step`: one training step, part by part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidardistill.bench.step_parts import Parts, clock_of, measured, median, one_step

if TYPE_CHECKING:
    from lidardistill.methods.image_pairs import PairBatch
    from lidardistill.tasks.pretrain.config import PretrainConfig
    from lidardistill.tasks.pretrain.run import Pretraining

PARTS = ("data", "student_forward", "rest_of_forward", "backward", "optimizer")
BASELINE = "the same recipe with images decoded and the frozen teacher run at every step, as SLidR does"
SLIDR_CASES = tuple((batch, precision) for batch in (4, 16) for precision in ("fp32", "bf16"))
WARM_UP = 2
TINY = (32, 64)
_PART_OF = {
    "data wait": "data",
    "to device": "data",
    "student": "student_forward",
    "backward": "backward",
    "optimiser": "optimizer",
}


def run(
    rounds: int = 5,
    dataroot: Path | None = None,
    *,
    cases: Sequence[tuple[int, str]] = SLIDR_CASES,
    rehearse: bool = False,
) -> dict[str, Any]:
    """Times steps of the demo's recipe, and on CUDA those of the exact SLidR recipe.

    Each round is one step of the product, which reads cached teacher features, and one of the baseline.

    Args:
        rounds: steps that count, after two that do not.
        dataroot: a nuScenes root, of which up to 16 keyframes are used; None renders two keyframes of a world.
        cases: batch size and precision of the steps on CUDA.
        rehearse: take those on the CPU, of a tiny network on tiny images: nothing to compare, but it runs.

    Returns:
        `product` and `baseline` (demo's recipe, all threads of torch): median_ms and iqr_ms of the step, and `parts`
        with the median and IQR of each of `PARTS`; `ratio` of the medians; `slidr`: the same by batch size and
        precision, or "not run" with the reason. Sparse convolutions with spconv's own CPU kernels are no baseline: they
        have no backward pass on a CPU.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="lidardistill-bench-") as folder:
        root = _world(Path(folder)) if dataroot is None else dataroot
        version, split = _version_and_split(root)
        source = {"dataroot": str(root), "version": version, "split": split}
        size = TINY if rehearse else None
        product = _demo(source, Path(folder), cached=True, image_size=size)
        baseline = _demo(source, Path(folder), cached=False, image_size=size)
        product.compute_teacher_features()
        steps = _Steps(product), _Steps(baseline)
        for _ in range(WARM_UP + rounds):  # alternating: what else the machine does hits both
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


class _Steps:
    """A training run whose steps are taken one by one, with the time of each part."""

    def __init__(self, run: Pretraining) -> None:
        self.run = run
        self.optimizer = run.optimizer()
        self.batches: Iterator[PairBatch] = run.batches(0)
        self.parts = Parts(clock_of(run.fabric.device))
        self.times: list[dict[str, float]] = []

    def take(self) -> None:
        """One step."""
        with measured(self.run.method, self.parts):
            one_step(self.run, self.batches, self.optimizer, len(self.times), self.parts)
        found = self.parts.take()
        self.times.append(dict.fromkeys(PARTS, 0.0))
        for part, time_ms in found.items():
            self.times[-1][_PART_OF.get(part.split(":")[0], "rest_of_forward")] += time_ms

    def summary(self) -> dict[str, Any]:
        """Median and IQR of the step and of each part, in milliseconds."""
        kept = self.times[WARM_UP:]
        parts = {part: median([times[part] for times in kept]) for part in PARTS}
        return {**median([sum(times.values()) for times in kept]), "parts": parts}


def _demo(
    source: dict[str, str], cache: Path, *, cached: bool, image_size: Sequence[int] | None
) -> Pretraining:
    from lidardistill.config.io import read_shipped, validate
    from lidardistill.tasks.pretrain.config import PretrainConfig

    values = read_shipped("pretrain/demo")
    values["data"].update(source, keyframes=16)
    values["data"]["superpixels"]["cache"] = str(cache / "superpixels")
    values["teacher_cache"] = str(cache / "teacher") if cached else None
    if image_size is not None:
        values["data"]["augment"]["image_size"] = list(image_size)
    return _build(validate(PretrainConfig, values, source="configs/pretrain/demo.yaml"))


def _slidr(
    source: dict[str, str], batch_size: int, precision: str, rounds: int, rehearse: bool
) -> dict[str, Any]:
    """The exact recipe with a randomly initialised teacher: its speed does not depend on the weights."""
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
        values["data"]["superpixels"] = {"cache": cache}  # SLIC would be all that is measured
        steps = _Steps(
            _build(validate(PretrainConfig, values, source="configs/pretrain/slidr_minkunet34.yaml"))
        )
        if not rehearse:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(WARM_UP + rounds):
            steps.take()
        peak = None if rehearse else round(torch.cuda.max_memory_allocated() / 2**20)
    figures = steps.summary()
    per_second = round(1e3 * batch_size / figures["median_ms"], 2)
    return {**figures, "keyframes_per_s": per_second, "peak_mib": peak}


def _build(config: PretrainConfig) -> Pretraining:
    from lidardistill.tasks.pretrain.run import Pretraining

    return Pretraining.build(config)


def _world(folder: Path) -> Path:
    from lidardistill.synthetic.write.dataset import write_world

    return write_world(folder / "world", train_scenes=1, val_scenes=0, keyframes=2, workers=1)


def _version_and_split(root: Path) -> tuple[str, str]:
    """The first version of a root and the first split that has scenes in it."""
    from lidardistill.datasets.nuscenes.source import NuScenesIndex
    from lidardistill.datasets.nuscenes.splits import SPLITS, official_scenes

    versions = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    index = NuScenesIndex.open(root, versions[0] if versions else "v1.0-trainval")
    present = set(index.scene_names)
    splits = [split for split in SPLITS if present.intersection(official_scenes(split))]
    if not splits:
        raise ValueError(
            f"--dataroot {root}: expected scenes of nuScenes, got {', '.join(sorted(present)[:3])}"
        )
    return index.version, splits[0]
