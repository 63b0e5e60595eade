"""Check of the environment: Python, packages, GPU, disk and threads. Most checks read only the metadata of
packages, because importing a broken package can crash.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from lidardistill.doctor.finding import Finding
from lidardistill.packages import install_command

PYTHON = ((3, 10), (3, 13))
"""Oldest and newest tested version."""

LEAST_FREE_GB = 5.0
"""Least free disk space: checkpoints and caches of a run may need it. The demo alone needs less."""


def check_environment() -> list[Finding]:
    """Check Python, packages, GPU, disk and threads.

    Returns:
        Findings; errors and warnings say how to fix them.
    """
    installed = installed_packages()
    torch_finding, torch_cuda, gpu = _torch()
    return [
        _python(),
        torch_finding,
        *spconv_findings(installed, torch_cuda, gpu=gpu),
        *torchvision_findings(installed, _required_torch(installed)),
        *package_findings(installed),
        _gpu(torch_cuda, gpu),
        _disk(),
    ]


def installed_packages() -> dict[str, str]:
    """Version of every installed distribution, by lower-case name with hyphens."""
    return {
        re.sub(r"[-_.]+", "-", name).lower(): found.version
        for found in importlib.metadata.distributions()
        if (name := found.metadata["Name"])
    }


def spconv_findings(installed: Mapping[str, str], torch_cuda: str | None, *, gpu: bool) -> list[Finding]:
    """Check the installed spconv wheel: is there exactly one, and does it fit torch?

    Args:
        installed: versions by name.
        torch_cuda: CUDA version of the torch build, None for a CPU build.
        gpu: whether torch sees a GPU.
    """
    found = []
    for family in ("spconv", "cumm"):
        wheels = sorted(name for name in installed if re.fullmatch(rf"{family}(-cu\d+)?", name))
        if len(wheels) > 1:  # the wheels share one import package and overwrite each other's files
            text = (
                f"{' and '.join(wheels)} are installed together and overwrite each other: pip uninstall all"
            )
            found.append(Finding("error", f"{text} of them, then install one again"))
        elif family == "spconv":
            found.append(_one_spconv(wheels, installed, torch_cuda, gpu))
    return found


def _one_spconv(
    wheels: list[str], installed: Mapping[str, str], torch_cuda: str | None, gpu: bool
) -> Finding:
    if not wheels:
        if gpu:
            return Finding(
                "error",
                f"spconv is not installed and a GPU needs it: {install_command('spconv')}",
            )
        return Finding("ok", "spconv is not installed; runs on a CPU do not use it")
    (wheel,) = wheels
    name = f"{wheel} {installed[wheel]}"
    cuda = wheel.partition("-cu")[2]
    if not cuda:
        if gpu:
            return Finding(
                "error",
                f"{name} has no CUDA kernels and torch sees a GPU: pip uninstall spconv cumm, then "
                f"{install_command('spconv')}",
            )
        return Finding("ok", f"{name}, CPU wheel")
    major = cuda[:-1]
    if torch_cuda is not None and torch_cuda.partition(".")[0] != major:
        return Finding(
            "warning",
            f"{name} was built for CUDA {major} and torch for {torch_cuda}: should the first sparse "
            "convolution fail, install matching ones",
        )
    return Finding("ok", f"{name}, CUDA {major}.{cuda[-1]}")


def torchvision_findings(installed: Mapping[str, str], required_torch: str | None) -> list[Finding]:
    """Check torchvision: if its import fails, the imports of transformers, lightning and others fail too.

    Args:
        installed: versions by name.
        required_torch: torch version pinned in torchvision's metadata, None if there is no pin.
    """
    version, torch = installed.get("torchvision"), installed.get("torch")
    if version is None or torch is None:
        return []
    reasons = []
    if required_torch is not None and required_torch != torch.partition("+")[0]:
        reasons.append(f"it wants torch {required_torch}")
    if torch.endswith("+cpu") and not version.endswith(
        "+cpu"
    ):  # PyPI's wheel links to torch's CUDA libraries
        reasons.append("it is a CUDA build and torch is not")
    if not reasons:
        return [Finding("ok", f"torchvision {version} (not used)")]
    return [
        Finding(
            "warning",
            f"torchvision {version} cannot work beside torch {torch} ({', '.join(reasons)}), and breaks "
            "whatever imports it, transformers among them. lidardistill does not need it: pip uninstall "
            "torchvision",
        )
    ]


def package_findings(installed: Mapping[str, str]) -> list[Finding]:
    """Check numpy, numba, and packages that only some commands need."""
    found = []
    numpy = installed.get("numpy")
    if numpy is None or _numbers(numpy) < (1, 26):
        found.append(Finding("error", f"numpy {numpy or 'is missing'}: expected 1.26 or newer"))
    else:
        found.append(Finding("ok", f"numpy {numpy}"))
    for name, level, without in (
        ("numba", "error", "nothing works"),
        ("embreex", "warning", "`demo` and `synth` cannot render"),
        ("nuscenes-devkit", "warning", "`probe`, `finetune` and `evaluate` cannot score"),
    ):
        if name in installed:
            found.append(Finding("ok", f"{name} {installed[name]}"))
        else:
            text = f"{name} is missing: {without}; {install_command(name)}"
            found.append(Finding("error" if level == "error" else "warning", text))
    if "transformers" in installed:
        found.append(Finding("ok", f"transformers {installed['transformers']}"))
    else:
        found.append(
            Finding(
                "ok",
                "transformers is not installed; only the teachers dinov2 and dinov3 need it: "
                f"{install_command('transformers')}",
            )
        )
    return found


def _python() -> Finding:
    version = sys.version_info[:2]
    oldest, newest = PYTHON
    text = f"Python {sys.version.split()[0]}"
    tested = f"tested with {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
    if version < oldest:
        return Finding("error", f"{text} is too old: {tested}")
    if version > newest:
        return Finding("warning", f"{text} is newer than what is {tested}")
    return Finding("ok", text)


def _torch() -> tuple[Finding, str | None, bool]:
    """Check torch; returns the finding, the CUDA version of the build, and whether torch sees a GPU."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("error", f"torch cannot be imported: {error}"), None, False
    finding = Finding(
        "ok", f"torch {torch.__version__}, {torch.get_num_threads()} threads of {_cores()} cores"
    )
    return finding, torch.version.cuda, torch.cuda.is_available()


def _gpu(torch_cuda: str | None, gpu: bool) -> Finding:
    if gpu:
        import torch

        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("ok", f"GPU: {', '.join(names)}")
    if torch_cuda is not None:
        return Finding(
            "warning", f"torch was built for CUDA {torch_cuda} and sees no GPU: runs go to the CPU"
        )
    return Finding("ok", "no GPU: runs go to the CPU")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    text = f"{free:.1f} GB free in {Path.cwd()}"
    return Finding("ok", text) if free >= LEAST_FREE_GB else Finding("warning", f"only {text}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _required_torch(installed: Mapping[str, str]) -> str | None:
    """Torch version in torchvision's `Requires-Dist: torch==...`."""
    if "torchvision" not in installed:
        return None
    for line in importlib.metadata.requires("torchvision") or ():
        if match := re.match(r"torch\s*\(?==\s*([\w.]+)", line):
            return match[1]
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
