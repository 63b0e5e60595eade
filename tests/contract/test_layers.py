"""Imports point down, labels stay out of pretraining, and forbidden packages stay out.

All rules are rules of folders.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lidardistill"

FLOORS = (
    (
        "atomic",
        "one_thread",
        "packages",
        "child_processes",
        "contents",
        "corrupt",
        "spans",
        "streams",
        "progress",
        "config",
    ),
    ("geometry",),
    ("ops",),
    ("regions", "sparse", "objectives", "weights"),
    ("data", "teachers"),
    ("datasets",),
    ("backbones", "corruptions", "engine"),
    ("exchange",),
    ("methods",),
    ("tasks",),
    ("export", "showcase", "synthetic", "report", "plugins"),
    ("demo", "doctor"),
    ("bench",),
    ("cli",),
)
"""Floors of the package, lowest first.

A module imports from lower floors and from its own folder, not from its neighbours on a floor.
"""

NO_TORCH = {"config", "geometry", "regions", "synthetic"}
FORBIDDEN_NAMES = {"utils", "common", "misc", "helpers"}
MAY_READ_LABELS = ("tasks", "showcase", "demo", "doctor", "bench")
"""Folders that may import labels, except `tasks/pretrain`. No other folder may, and no new one."""
WRITERS = ("synthetic", "bench/index_tables.py")
"""Modules that write nuScenes' format; they import names of tables, sensors and classes from the room."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield each imported module, its line, and whether the import is at the top of the module."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno, id(node) in top


def floor_of(folder: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if folder in floor)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    layer = parts[0]
    for name, line, at_top in imports(path):
        where = f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}"
        root = name.split(".")[0]
        assert root not in {"torchvision", "timm"}, where
        if root == "spconv":
            assert path.name == "sparse.py", where
        if root in {"mmcv", "mmdet", "mmdet3d", "mmengine"}:
            assert layer == "plugins", where
        if root == "torch":
            assert layer not in NO_TORCH, where
            assert path.name != "config.py", f"{where}: a config error must not wait for torch"
        if root in {"torch", "numba"}:
            assert not (layer == "cli" and at_top), f"{where} at import time: --help must stay fast"
        if root != "lidardistill" or layer in {"__init__", "__main__"}:
            continue
        target = name.split(".")[1]
        if target in {layer, "__version__"}:
            continue
        assert floor_of(target) < floor_of(layer), where


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_names_say_something(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES


LABELLED = {"labelled", "label_kinds"}
"""Modules of `datasets/` with the contract for labels, and with the list of rooms with labels."""


def rooms() -> set[str]:
    return {path.name for path in (PACKAGE / "datasets").iterdir() if (path / "source.py").is_file()}


def is_labels(name: str) -> bool:
    """Return whether an imported name is a room's labels, or the contract for labels."""
    parts = name.split(".")
    if parts[:2] != ["lidardistill", "datasets"]:
        return False
    return parts[2] in LABELLED or (parts[2] in rooms() and parts[3:4] == ["labels"])


def test_the_wall_against_labels() -> None:
    """The modules of pretraining import no labels, boxes, maps or judges of a data set."""
    assert rooms() >= {"nuscenes", "kitti"}
    for path in modules():
        parts = path.relative_to(PACKAGE).parts
        if parts[0] == "datasets":
            is_allowed = parts[1].removesuffix(".py") in LABELLED or parts[2:3] == ("labels",)
        else:
            is_allowed = parts[0] in MAY_READ_LABELS and parts[:2] != ("tasks", "pretrain")
        for name, line, _ in imports(path):
            assert is_allowed or not is_labels(name), f"{'/'.join(parts)}:{line} imports {name}"


def test_rooms_of_data_sets_are_entered_through_their_lists() -> None:
    """Modules outside `datasets/` import no room: `kinds` opens sources, `label_kinds` opens labels."""
    for path in modules():
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] == "datasets" or relative.as_posix().startswith(WRITERS):
            continue
        for name, line, _ in imports(path):
            parts = name.split(".")
            assert parts[:2] != ["lidardistill", "datasets"] or parts[2] not in rooms(), (
                f"{relative}:{line} imports {name}"
            )
