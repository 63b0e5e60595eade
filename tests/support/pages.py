"""Run the worked example of a page of docs/: apply its code blocks to a copy of the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import lidardistill

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(lidardistill.__file__).resolve().parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> dict[str, str]:
    """Return the code blocks of a page by the file in their first line, such as `# lidardistill/...`."""
    found = {}
    for kind, text in FENCE.findall(page.read_text()):
        first, _, rest = text.partition("\n")
        if kind == language and first.startswith("# "):
            found[first[2:].strip()] = rest
    return found


def commands(page: Path) -> list[str]:
    """Return the `lidardistill ...` lines of a page; continued lines are joined."""
    text = "\n".join(body for kind, body in FENCE.findall(page.read_text()) if kind == "bash")
    return [line for line in text.replace("\\\n", " ").splitlines() if line.startswith("lidardistill ")]


def patched(text: str, diff: str) -> str:
    """Return `text` after a diff whose hunks are separated by lines `...`."""
    for hunk in re.split(r"^\.\.\.$", diff, flags=re.MULTILINE):
        lines = [line for line in hunk.splitlines() if line]
        old = "\n".join(line[1:] for line in lines if line[0] in " -")
        new = "\n".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"the page shows lines that the file does not have once:\n{old}"
        text = text.replace(old, new)
    return text


def overlay(folder: Path, page: Path) -> Path:
    """Build a package with the files and changes of a page; all other files are links.

    Args:
        folder: empty folder.
        page: its `python` blocks are whole files, its `diff` blocks are changes of files.

    Returns:
        `folder`, to be put on PYTHONPATH.
    """
    new, changed = blocks(page, "python"), blocks(page, "diff")
    assert new
    assert changed
    for name in (*new, *changed):
        _link_siblings(folder, Path(name))
    for name, text in new.items():
        assert not (folder / name).exists(), f"{page.name}: {name} is in the package already"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name, diff in changed.items():
        text = (folder / name).read_text()
        (folder / name).unlink()
        (folder / name).write_text(patched(text, diff))
    return folder


def _link_siblings(folder: Path, name: Path) -> None:
    """Create the folders of `name` and link everything beside them, compiled kernels included."""
    for parent in reversed(name.parents[:-1]):
        here, there = folder / parent, PACKAGE.parent / parent
        if not there.is_dir():
            continue
        if here.is_symlink():
            here.unlink()
        here.mkdir(exist_ok=True)
        for child in there.iterdir():
            if child.name != "__pycache__" and not (here / child.name).exists():
                (here / child.name).symlink_to(child)


def run(site: Path, *words: str | Path) -> str:
    """Run `lidardistill WORDS` with the package in `site`; return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "lidardistill", *map(str, words)],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
