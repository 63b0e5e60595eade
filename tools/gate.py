"""The bit-equality gate: what a checkout computes on a tiny world, as exact hex floats; do two agree?

Usage: tools/gate.py record OUT.json [--root CHECKOUT] [--python PYTHON] [--world DIR] [--runs DIR]
                                     [--only RUN ...]
       tools/gate.py compare A.json B.json

`record` calls `python -m lidardistill` of a checkout and nothing else of it, so that its modules may move.
It renders one keyframe of the embedded world, pretrains for six steps with each method, and trains what is
judged on labels. OUT.json holds each step's metrics, the final scores, and a sha256 of tensors, predictions
and rendered files. `compare` prints one line a run. It ends with 1 where a bit differs, a run is missing, or
a run failed.

Two records agree only on the same machine with the same packages. Of the metrics only times are left out.
Of a run's folder what carries times, paths or the commit is left out: manifest, config, card, checkpoints,
TensorBoard. Compiled numba kernels are kept below the temporary folder, anew for each state of the sources
they are made of. A record takes four minutes on one free core; the first of such a state takes two more.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

STEPS = 6
TIMEOUT_S = 900
TIMES = ("seconds", "data_wait_share")
"""Keys of metrics that measure time, which never agrees."""

WORLD = ("--train-scenes", "2", "--val-scenes", "2", "--keyframes", "4", "--image-size", "90x160")
RENDERED = (
    "--train-scenes",
    "1",
    "--val-scenes",
    "0",
    "--keyframes",
    "1",
    "--image-size",
    "90x160",
    "--seed",
    "1",
)
"""The world that runs are trained on, which is kept; and the one that each record renders anew."""

INDEXES = ".lidardistill"
"""Folder of indexes that the package writes into a world. Each record makes its own and takes none over."""

NO_BITS = (
    "checkpoints",
    "tensorboard",
    "backbone.json",
    "config.yaml",
    "manifest.json",
    "metrics.json",
    "metrics.jsonl",
)
"""What of a run folder is not hashed as a file.

It carries times, paths or the commit, or it is read number by number.
"""

JUDGED_SCENES = ("scene-0103", "scene-0916")
DETECTED = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
}
"""Scenes of mini_val, and the categories whose boxes are handed in as detections."""


@dataclass(frozen=True)
class Run:
    """One call of the command line.

    Attributes:
        name: of the run, in the record and in the table.
        verb: of the command line.
        config: below `configs/` of the checkout.
        overrides: `a.b=value` for this run.
        weights: name of the run that the backbone comes from, `random`, or None where the verb takes none.
        camera: name of the run that the camera network comes from, or None.
        lidar: name of the run that `method.lidar_weights` names, or None.
    """

    name: str
    verb: str
    config: str
    overrides: tuple[str, ...] = ()
    weights: str | None = None
    camera: str | None = None
    lidar: str | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the runs that this one reads."""
        return tuple(name for name in (self.weights, self.camera, self.lidar) if name not in (None, "random"))


_TRAIN = (f"trainer.max_steps={STEPS}", "trainer.log_every=1", "trainer.epochs=null")
_PRETRAIN = (*_TRAIN, "schedule.warmup_steps=2", "data.num_workers=0")
_IMAGES = ("data.augment.image_size=[64, 112]",)
_SLIDR = (*_PRETRAIN, *_IMAGES)
_CACHED = ("data.superpixels.cache=@work/superpixels", "teacher_cache=@work/teacher")
_LIVE = ("data.superpixels.cache=null", "teacher_cache=null")
_PILLARS = ("student.preset=pillars_mini", "voxels.voxel_size=[0.4, 0.4, 8.0]")
_BATCH = ("data.batch_size=2",)
_JUDGED = (*_TRAIN, "calibration_keyframes=2", "data.num_workers=0")
_BOXES = ("head.score_threshold=0.0", "head.max_boxes=10")
_PROBED = ("data.train_keyframes=4", "data.num_workers=0")

RUNS = (
    Run("slidr", "pretrain", "pretrain/demo.yaml", (*_SLIDR, *_CACHED)),
    Run("slidr_live", "pretrain", "pretrain/demo.yaml", (*_SLIDR, *_LIVE, *_BATCH)),
    Run(
        "slidr_paper",
        "pretrain",
        "pretrain/demo.yaml",
        (
            *_SLIDR,
            *_LIVE,
            "method.normalize=pixel",
            "method.symmetric=true",
            "data.visibility=zbuffer",
            "data.augment.drop_cuboid=true",
            "data.augment.crop_images=true",
            "data.augment.flip_images=true",
            "voxels={kind: cylindrical}",
            "optimizer={kind: sgd}",
            "trainer.accumulate=2",
            "trainer.clip_norm=1.0",
            *_BATCH,
        ),
    ),
    Run(
        "slidr_permuted_ema",
        "pretrain",
        "pretrain/demo.yaml",
        (*_SLIDR, *_CACHED, "method.pairing=permuted", "trainer.ema_decay=0.9"),
    ),
    Run(
        "slidr_bev_term",
        "pretrain",
        "pretrain/demo.yaml",
        (*_SLIDR, *_CACHED, "bev_term={bev_range: [-51.0, -51.0, 51.0, 51.0]}"),
    ),
    Run("bevcontrast", "pretrain", "pretrain/demo_bevcontrast.yaml", _PRETRAIN),
    Run(
        "bevcontrast_voxelnet",
        "pretrain",
        "pretrain/demo_calico_prc.yaml",
        (*_PRETRAIN, *_BATCH, "method={kind: bevcontrast}"),
    ),
    Run("prc", "pretrain", "pretrain/demo_calico_prc.yaml", (*_PRETRAIN, *_BATCH)),
    Run("prc_pillars", "pretrain", "pretrain/demo_calico_prc.yaml", (*_PRETRAIN, *_PILLARS)),
    Run("rad", "pretrain", "pretrain/demo_calico_rad.yaml", (*_PRETRAIN, *_IMAGES, *_BATCH), lidar="prc"),
    Run("probe", "probe", "probe/demo.yaml", (*_PROBED, "probe.epochs=2"), weights="slidr"),
    Run(
        "probe_online",
        "probe",
        "probe/demo.yaml",
        (*_PROBED, *_BATCH, f"probe={{kind: online, epochs: {STEPS // 2}}}"),
        weights="slidr",
    ),
    Run("finetune", "finetune", "finetune/demo.yaml", (*_JUDGED, "schedule.warmup_steps=2"), weights="slidr"),
    Run("detect", "detect", "detect/demo.yaml", (*_JUDGED, *_BOXES), weights="prc"),
    Run(
        "detect_sampled",
        "detect",
        "detect/demo.yaml",
        (
            *_JUDGED,
            *_BOXES,
            *_PILLARS,
            *_BATCH,
            "data.gt_sampling={}",
            "data.class_balanced=true",
            "data.sweeps=1",
        ),
        weights="prc_pillars",
    ),
    Run(
        "detect_fusion",
        "detect",
        "detect/demo_fusion.yaml",
        (*_JUDGED, *_BOXES, "data.image_size=[64, 112]"),
        weights="prc",
        camera="rad",
    ),
    Run("mapseg", "mapseg", "mapseg/demo.yaml", _JUDGED, weights="prc"),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    recorder = verbs.add_parser("record", help="run a checkout and write what it computes")
    recorder.add_argument("out", type=Path)
    recorder.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="a checkout")
    recorder.add_argument("--python", type=Path, default=Path(sys.executable), help="an interpreter")
    recorder.add_argument(
        "--world", type=Path, help="the world: made where it is missing, else used as it is"
    )
    recorder.add_argument("--runs", type=Path, help="an empty or new folder to keep the runs in")
    recorder.add_argument("--only", nargs="+", metavar="RUN", choices=[run.name for run in RUNS])
    comparer = verbs.add_parser("compare", help="say where two records differ")
    comparer.add_argument("a", type=Path)
    comparer.add_argument("b", type=Path)
    options = parser.parse_args()
    if options.verb == "compare":
        table, equal = compare(json.loads(options.a.read_text()), json.loads(options.b.read_text()))
        print(table)
        return 0 if equal else 1
    if options.runs is not None and options.runs.exists() and any(options.runs.iterdir()):
        parser.error(f"--runs {options.runs} is not empty: finished runs would be read, not repeated")
    return record(options)


def record(options: argparse.Namespace) -> int:
    """Run everything and write the record, after each run what there is of it.

    Args:
        options: out, root, python, world, runs, only, as `main` parses them.

    Returns:
        Exit code: 1 where a run failed. The record is written in that case too.
    """
    started = time.monotonic()
    # Not resolved: the interpreter of a virtual environment is a link, and its target has no packages.
    checkout = Checkout(options.root.resolve(), Path(os.path.abspath(options.python)))
    result: dict[str, Any] = {**checkout.facts(), "runs": {}}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(options.runs or tempfile.mkdtemp(prefix="gate-")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(f"{result['package']}, runs in {work}", flush=True)

    def keep(name: str, entry: dict[str, Any]) -> None:
        result["runs"][name] = entry
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        result["seconds"] = round(time.monotonic() - started, 1)
        result["cpu_seconds"] = round(used.ru_utime + used.ru_stime, 1)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{name:<22} exit {entry['exit']}  {entry['seconds']:5.1f} s", flush=True)

    try:
        kept, world, rendered = (options.world or work / "kept").resolve(), work / "world", work / "rendered"
        made: dict[str, Any] = {"exit": 0, "seconds": 0.0}
        if not (kept / "v1.0-mini").is_dir():
            made = checkout.call("synth", "--out", str(kept), *WORLD)
        keep("world", {**made, "files": hashes_of_files(kept, without=(INDEXES,))})
        if made["exit"] == 0:  # else each run says for itself that there is no world
            shutil.copytree(kept, world, ignore=shutil.ignore_patterns(INDEXES))
        made = checkout.call("synth", "--out", str(rendered), *RENDERED)
        keep("rendered", {**made, "files": hashes_of_files(rendered)})
        for run in chosen(options.only):
            made = checkout.call(*command_line(run, world, work))
            keep(run.name, {**made, **harvest(work / run.name)})
        if options.only is None and world.is_dir():
            keep("scored_boxes", score_boxes(checkout, world, work))
    finally:
        if options.runs is None:
            shutil.rmtree(work, ignore_errors=True)
    failed = [name for name, entry in result["runs"].items() if entry["exit"] != 0]
    for name in failed:
        print(f"\n{name} failed:", *result["runs"][name]["tail"], sep="\n  ")
    times = f"{result['seconds']} s, {result['cpu_seconds']} s of a core"
    print(f"{options.out}: {len(result['runs'])} runs, {len(failed)} failed, {times}")
    return 1 if failed else 0


def score_boxes(checkout: Checkout, world: Path, work: Path) -> dict[str, Any]:
    """Have annotated boxes scored, moved a little.

    A detector of six steps finds nothing: its own scores are zeros, which agree whatever the judge does.
    """
    path, out = work / "boxes.json", work / "scored_boxes"
    path.write_text(json.dumps(moved_boxes(world)))
    judge = ("evaluate", "--task", "detection", "--version", "v1.0-mini", "--split", "mini_val")
    made = checkout.call(*judge, "--submission", str(path), "--dataroot", str(world), "--out", str(out))
    return {**made, **harvest(out)}


def moved_boxes(world: Path) -> dict[str, Any]:
    """Annotated boxes of `JUDGED_SCENES` as detections in nuScenes' format, with invented errors."""

    def table(name: str) -> dict[str, dict[str, Any]]:
        rows = json.loads((world / "v1.0-mini" / f"{name}.json").read_text())
        return {row["token"]: row for row in rows}

    scenes, samples, instances = table("scene"), table("sample"), table("instance")
    categories, attributes = table("category"), table("attribute")
    judged = [token for token, row in samples.items() if scenes[row["scene_token"]]["name"] in JUDGED_SCENES]
    results: dict[str, list[dict[str, Any]]] = {token: [] for token in judged}
    for number, box in enumerate(table("sample_annotation").values()):
        category = categories[instances[box["instance_token"]]["category_token"]]["name"]
        if box["sample_token"] not in results or category not in DETECTED:
            continue
        x, y, z = box["translation"]
        results[box["sample_token"]].append(
            {
                "sample_token": box["sample_token"],
                "translation": [x + 0.2 * (number % 7), y - 0.1 * (number % 5), z],
                "size": [side * (1 + 0.03 * (number % 4)) for side in box["size"]],
                "rotation": box["rotation"],
                "velocity": [0.5, 0.25],
                "detection_name": DETECTED[category],
                "detection_score": (1 + 37 * number % 101) / 102,
                "attribute_name": next((attributes[token]["name"] for token in box["attribute_tokens"]), ""),
            }
        )
    used = {f"use_{sensor}": sensor == "lidar" for sensor in ("camera", "lidar", "radar", "map", "external")}
    return {"meta": used, "results": results}


class Checkout:
    """The command line of a checkout, with everything fixed that its bits may depend on.

    Args:
        root: folder that holds `lidardistill/` and `configs/`.
        python: interpreter with its packages.
    """

    def __init__(self, root: Path, python: Path) -> None:
        self.root, self.python = root, python
        threads = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LIDARDISTILL_")},
            **{f"{name}_NUM_THREADS": "1" for name in threads},
            "CUDA_VISIBLE_DEVICES": "",
            "LIDARDISTILL_TRACEBACK": "1",
            "NUMBA_CACHE_DIR": str(kernel_cache(root)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": str(root),
        }

    def facts(self) -> dict[str, Any]:
        """Where the package lies, commit, versions and processor.

        Raises:
            SystemExit: Python would import the package of another checkout.
        """
        code = (
            "import importlib.metadata as m, json, platform, lidardistill as l; "
            "print(json.dumps({'package': l.__file__, 'versions': {'python': platform.python_version(), "
            "**{n: m.version(n) for n in ('torch', 'numpy', 'numba', 'scipy')}}}))"
        )
        facts = json.loads(self._run([str(self.python), "-c", code], check=True).stdout)
        if not Path(facts["package"]).resolve().is_relative_to(self.root):
            raise SystemExit(f"{self.python} imports {facts['package']}, which is not below {self.root}")
        git = ["git", "-C", str(self.root)]
        facts["commit"] = self._run([*git, "rev-parse", "HEAD"]).stdout.strip() or None
        facts["dirty"] = bool(self._run([*git, "status", "--porcelain"]).stdout.strip())
        return {"root": str(self.root), **facts, "processor": processor()}

    def call(self, *arguments: str) -> dict[str, Any]:
        """Run one verb to its end.

        Returns:
            command, exit (the exit code, or `timeout`), seconds, and where it failed tail: its last lines.
        """
        started = time.monotonic()
        command = [str(self.python), "-m", "lidardistill", *arguments]
        try:
            done = self._run(command)
            code: int | str = done.returncode
            said = done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            code, said = "timeout", f"it ran longer than {TIMEOUT_S} s"
        entry = {"command": command, "exit": code, "seconds": round(time.monotonic() - started, 1)}
        return entry if code == 0 else {**entry, "tail": said.splitlines()[-25:]}

    def _run(self, command: list[str], check: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=check,
        )


def kernel_cache(root: Path) -> Path:
    """A folder for compiled kernels that belongs to one state of the sources they are made of.

    Numba compiles a kernel anew when its own file changes. It does not when another file changes, from which
    the kernel takes a kernel or a constant. A cache that outlives such a change would hide it. So the name of
    the folder is a digest of the files with kernels and of all that these import.
    """
    waiting = [path for path in (root / "lidardistill").rglob("*.py") if b"njit" in path.read_bytes()]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imported_files(path, root)
    digest = hashlib.sha256(str(root).encode())
    for path in sorted(found):
        digest.update(f"\0{path}\0".encode() + path.read_bytes())
    return Path(tempfile.gettempdir()) / f"lidardistill-gate-{os.getuid()}" / digest.hexdigest()[:16]


def imported_files(path: Path, root: Path) -> list[Path]:
    """Files below `root` that a Python file imports, wherever in it."""
    package = path.relative_to(root).parent.parts
    names: list[tuple[str, ...]] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = (*start, *(node.module.split(".") if node.module else ()))
            names += [module, *((*module, alias.name) for alias in node.names)]
    places = [root.joinpath(*name) for name in names if name[:1] == ("lidardistill",)]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return [file for file in files if file.is_file()]


def processor() -> str:
    """Model of the processor: others round sums in another order."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def chosen(only: list[str] | None) -> list[Run]:
    """All runs, or the named ones with those that they read, each behind what it reads."""
    wanted = {run.name for run in RUNS} if only is None else set(only)
    for run in reversed(RUNS):
        if run.name in wanted:
            wanted.update(run.needs)
    return [run for run in RUNS if run.name in wanted]


def command_line(run: Run, world: Path, work: Path) -> list[str]:
    """Arguments of `lidardistill` for a run.

    Args:
        run: which.
        world: nuScenes root.
        work: folder of the runs; `@work` in an override stands for it.
    """
    words = [run.verb, f"configs/{run.config}", f"data.dataroot={world}"]
    words += [override.replace("@work", str(work)) for override in run.overrides]
    if run.lidar is not None:
        words.append(f"method.lidar_weights={work / run.lidar}")
    for option, source in (("--weights", run.weights), ("--camera-weights", run.camera)):
        if source is not None:
            words += [option, source if source == "random" else str(work / source)]
    return [*words, "--out", str(work / run.name)]


def harvest(out: Path) -> dict[str, Any]:
    """What a run folder holds.

    Returns:
        steps: a mapping of values for each line of metrics.jsonl. metrics: values of metrics.json by dotted
        key. tensors: sha256 of each file of weights. files: sha256 of each other file but `NO_BITS`. Each is
        empty where there is none.
    """
    lines, scores = out / "metrics.jsonl", out / "metrics.json"
    weights = sorted(out.glob("*.safetensors"))
    return {
        "steps": [exact(json.loads(line)) for line in lines.read_text().splitlines()]
        if lines.is_file()
        else [],
        "metrics": exact(json.loads(scores.read_text())) if scores.is_file() else {},
        "tensors": {path.name: hash_of_tensors(path) for path in weights},
        "files": hashes_of_files(out, without=(*NO_BITS, *(path.name for path in weights))),
    }


def exact(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping by dotted key, numbers as hex floats, without `TIMES`."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    found: dict[str, Any] = {}
    for key, value in items:
        name = f"{prefix}{key}"
        if key in TIMES:
            continue
        if isinstance(value, (dict, list)):
            found.update(exact(value, f"{name}."))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = float(value).hex()
        else:
            found[name] = value
    return found


def hash_of_tensors(path: Path) -> str:
    """sha256 over name, type, shape and bytes of each tensor of a safetensors file, by rising name."""
    digest = hashlib.sha256()
    with safe_open(path, framework="numpy") as file:
        for name in sorted(file.keys()):
            tensor = np.ascontiguousarray(file.get_tensor(name))
            digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
            digest.update(tensor.tobytes())
    return digest.hexdigest()


def hashes_of_files(folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """sha256 of each file below a folder by its path in it, but for those entries of it that are named."""
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and place.parts[0] not in without:
            found[place.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


PARTS = ("steps", "metrics", "tensors", "files")
"""What of a run is compared, as `harvest` names it."""

_ABSENT = "absent"


def compare(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, bool]:
    """Hold two records against each other.

    Args:
        a: a record, as JSON holds it.
        b: another.

    Returns:
        A table with one line for each run; and whether all runs are there, finished, and equal bit for bit.
    """
    lines = [
        f"{letter}: {side.get('root')} at {side.get('commit')}{', changed' if side.get('dirty') else ''}"
        for letter, side in (("A", a), ("B", b))
    ]
    for key in ("versions", "processor"):
        if a.get(key) != b.get(key):
            lines.append(f"note: {key} differ, so bits may: {a.get(key)} / {b.get(key)}")
    rows = []
    for name in [*a["runs"], *(name for name in b["runs"] if name not in a["runs"])]:
        if name not in a["runs"] or name not in b["runs"]:
            rows.append((name, "MISSING", f"not in {'A' if name not in a['runs'] else 'B'}"))
            continue
        found = list(differences(a["runs"][name], b["runs"][name]))
        rows.append((name, "DIFFERS" if found else "equal", "; ".join(found) or _held(a["runs"][name])))
    width = max([len(name) for name, _, _ in rows], default=0)
    lines += [f"{name:<{width}}  {verdict:<7}  {where}" for name, verdict, where in rows]
    bad = sum(verdict != "equal" for _, verdict, _ in rows)
    lines.append(f"{len(rows)} runs, {bad} not equal" if rows else "no runs")
    return "\n".join(lines), bool(rows) and bad == 0


def differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    """What differs between two records of one run, the earliest first; a failed run counts as different."""
    for letter, side in (("A", a), ("B", b)):
        if side["exit"] != 0:
            last_words = (side.get("tail") or ["without a word"])[-1].strip()
            yield f"{letter} failed, exit {side['exit']}: {last_words}"
    steps_a, steps_b = a.get("steps", []), b.get("steps", [])
    for values_a, values_b in zip(steps_a, steps_b, strict=False):
        if values_a != values_b:
            yield f"step {_shown(values_a.get('step'))}: {_first(values_a, values_b)}"
            break
    if len(steps_a) != len(steps_b):
        yield f"{len(steps_a)} / {len(steps_b)} steps"
    if not any(side.get(part) for side in (a, b) for part in PARTS):
        yield "neither holds anything to compare"
    for part in PARTS[1:]:
        values_a, values_b = a.get(part, {}), b.get(part, {})
        if values_a != values_b:
            yield f"{part}: {_first(values_a, values_b)}"


def _first(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The first key whose values differ, `loss` before others, and how many more there are."""
    keys = [
        key for key in (*a, *(key for key in b if key not in a)) if a.get(key, _ABSENT) != b.get(key, _ABSENT)
    ]
    keys.sort(key=lambda key: key != "loss")
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{keys[0]} {_shown(a.get(keys[0], _ABSENT))} / {_shown(b.get(keys[0], _ABSENT))}{more}"


def _shown(value: Any) -> str:
    """A hex float with its decimal digits, a hash by its beginning, all else as it is."""
    if isinstance(value, str) and "0x" in value[:3]:
        number = float.fromhex(value)
        return f"{number:.0f}" if number.is_integer() else f"{number!r} ({value})"
    return value[:12] if isinstance(value, str) else str(value)


def _held(entry: dict[str, Any]) -> str:
    """What of a run agreed."""
    return ", ".join(
        f"{len(entry[part])} {part if len(entry[part]) > 1 else part[:-1]}"
        for part in PARTS
        if entry.get(part)
    )


if __name__ == "__main__":
    sys.exit(main())
