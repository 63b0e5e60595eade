"""Rules of the package: no import cycle, no crowded folder, no run-time patches, no missing file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lidardistill"
MAX_FILES = 16
"""Return the modules of a folder, without `__init__`."""


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_names(folder: str) -> dict[str, Path]:
    """Return files by module name; files outside the package import their neighbours by bare name."""
    names = {}
    for path in python_files(folder):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        if folder == "tools":
            names[path.stem] = path
    return names


def imported(path: Path, known: dict[str, Path]) -> Iterator[Path]:
    """Return the files that a file imports: at the top, in functions, and for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in submodules]
        yield from (known[name] for name in names if name in known and known[name] != path)


def circles(graph: dict[Path, set[Path]]) -> list[Path]:
    """Return the files on or above a cycle: remove files without imports until none is left."""
    left = dict(graph)
    while True:
        free = [path for path, targets in left.items() if not targets & left.keys()]
        if not free:
            return sorted(left)
        for path in free:
            del left[path]


@pytest.mark.parametrize("folder", ["lidardistill", "tools"])
def test_no_circle_of_imports(folder: str) -> None:
    known = module_names(folder)
    graph = {path: set(imported(path, known)) for path in known.values()}
    assert not circles(graph), "these files import each other, or files that do"


def test_no_folder_is_crowded() -> None:
    counts: dict[Path, int] = {}
    for path in python_files("lidardistill", "tests", "tools"):
        if path.name != "__init__.py":
            counts[path.parent] = counts.get(path.parent, 0) + 1
    crowded = {str(folder.relative_to(ROOT)): n for folder, n in counts.items() if n > MAX_FILES}
    assert not crowded, f"more than {MAX_FILES} modules side by side: group them by meaning"


@pytest.mark.parametrize("path", python_files("lidardistill"), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_replaced_at_run_time(path: Path) -> None:
    """No mocks, and no assignment to an attribute of an imported module."""
    tree = ast.parse(path.read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("unittest") for alias in node.names), f"{path}:{node.lineno}"
            modules |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("unittest"), f"{path}:{node.lineno}"
            modules |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
            targets = [ast.Attribute(node.args[0], "")]
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                assert target.value.id not in modules, f"{path}:{node.lineno} replaces {ast.unparse(target)}"


MISSING = re.compile(r"methods\.md|learning\.md|architecture\.md|(?<![\w.])\.\./shared")
TEXTS = (
    "lidardistill/**/*",
    "docs/**/*",
    "tools/*",
    "configs/**/*",
    "README.md",
    "CONTRIBUTING.md",
    "Makefile",
)
SUFFIXES = {".py", ".md", ".yaml", ".sh", ".toml", ".txt", ""}


def test_no_text_names_a_file_that_a_reader_does_not_have() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for pattern in TEXTS
        for path in sorted(ROOT.glob(pattern))
        if path.is_file() and path.suffix in SUFFIXES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if MISSING.search(line)
    ]
    assert not found, "\n".join(found)
