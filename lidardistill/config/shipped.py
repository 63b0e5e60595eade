"""Recipes that ship with lidardistill: configs/ of a checkout, or lidardistill/configs/ of a wheel."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
LOG = logging.getLogger("lidardistill")


def shipped_folder() -> Path:
    """Return the folder of the recipes: configs/ of a checkout, else that of the installed package.

    Raises:
        FileNotFoundError: neither exists, because the installation is incomplete.
    """
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "configs").is_dir():
        return checkout / "configs"
    if (PACKAGE / "configs").is_dir():
        return PACKAGE / "configs"
    raise FileNotFoundError(
        f"{PACKAGE / 'configs'} is missing: the installation of lidardistill is incomplete; install it again"
    )


def find_config(name: Path | str, folder: str = "") -> Path:
    """Return the path of a config file: a user's file, else the shipped recipe of that name.

    Args:
        name: a path, `configs/pretrain/demo.yaml`, `pretrain/demo`, or the bare name `demo`.
        folder: folder of the recipes for bare names, such as `pretrain`.

    Raises:
        FileNotFoundError: there is no such file; the message names the nearest ones.
    """
    path = Path(name)
    if path.is_file():
        return path
    if not path.is_absolute() and ".." not in path.parts:
        recipes = shipped_folder()
        parts = path.parts[1:] if path.parts[:1] == ("configs",) else path.parts
        if len(path.parts) == 1 and not path.suffix and folder:
            parts = (folder, *parts)
        # Only a name with its folder is unambiguous: `demo.yaml` alone means a file of the user.
        found = recipes.joinpath(*parts)
        found = found if found.suffix == ".yaml" else found.with_name(f"{found.name}.yaml")
        if len(parts) > 1 and found.is_file():
            LOG.info("config %s: the one that ships with lidardistill, %s", name, found)
            return found
    raise FileNotFoundError(f"no config file {name}{_neighbours(path, folder)}")


def _neighbours(path: Path, folder: str) -> str:
    """Return suggestions: files beside the missing one, else recipes of the verb."""
    beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    if beside:
        return f"; in {path.parent}: {', '.join(beside)}"
    names = sorted(p.stem for p in (shipped_folder() / folder).glob("*.yaml")) if folder else []
    if not names:
        return ""
    near = difflib.get_close_matches(path.stem, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"; {hint}Recipes that ship with lidardistill: {', '.join(names)}"
