"""Rooms are closed: only a room and the list of its kind name a method, backbone or data set."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lidardistill"
KINDS = ("methods", "backbones", "datasets")
"""Folders whose subfolders are rooms."""


def rooms() -> list[Path]:
    return sorted(
        folder
        for kind in KINDS
        for folder in (PACKAGE / kind).iterdir()
        if (folder / "__init__.py").is_file()
    )


def room_of(path: Path) -> Path | None:
    return next((room for room in rooms() if room in path.parents), None)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def outside() -> list[Path]:
    """Return every module outside rooms."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) is None]


def classes_of_rooms() -> set[str]:
    """Return the names of all classes of rooms, except names that a module outside also defines."""
    found: set[str] = set()
    for room in rooms():
        for path in room.rglob("*.py"):
            found |= {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)}
    return found


def names_in(node: ast.expr) -> Iterator[str]:
    """Return the names of the classes in the second argument of isinstance."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


CLASSES = classes_of_rooms()


def test_there_are_rooms_and_classes() -> None:
    names = {room.name for room in rooms()}
    assert {"slidr", "bevcontrast", "calico_prc", "calico_rad", "minkunet", "lidar_bev", "nuscenes"} <= names
    assert {"SLidR", "SLidRConfig", "BEVContrast", "ScanPairBatch", "MinkUNet", "LidarBev"} <= CLASSES


@pytest.mark.parametrize("path", outside(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nobody_asks_for_a_class_of_a_room(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
            and len(node.args) == 2
        ):
            asked = CLASSES.intersection(names_in(node.args[1]))
            assert not asked, (
                f"{module_of(path)}:{node.lineno} asks whether something is a {', '.join(sorted(asked))}"
            )


def imported(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_its_room_and_the_list_import_a_method(path: Path) -> None:
    if path == PACKAGE / "methods" / "kinds.py":
        return
    methods = {f"lidardistill.methods.{room.name}": room for room in rooms() if room.parent.name == "methods"}
    for name, line in imported(path):
        room = methods.get(".".join(name.split(".")[:3]))
        assert room is None or room == room_of(path), f"{module_of(path)}:{line} imports {name}"
