"""oneDNN's float32 product, which torch has as a private operator only, and whether to use it.

torch.mm takes MKL's AVX2 kernels on an AMD CPU in float32; oneDNN's AVX-512 kernels are twice as fast there. (In bfloat16
torch.mm is oneDNN already.) The operator packs a plain matrix as it goes: weights packed once per optimiser step would
save 2 to 7 % of the product, and could go stale, so nothing is kept.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

SWITCH = "LIDARDISTILL_ONEDNN"
"""Environment variable that overrules `faster_here`: 0 or 1."""


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight^T on oneDNN, float32.

    Args:
        x: (N, C).
        weight: (D, C), contiguous or the transpose of something contiguous: for other strides oneDNN takes a reference
            kernel a thousand times slower.

    Returns:
        (N, D).
    """
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


@cache
def available() -> bool:
    """Whether this torch has the operator, and it multiplies."""
    x, weight = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        return torch.equal(linear(x, weight), x @ weight.t())
    except (AttributeError, RuntimeError, TypeError):
        return False


@cache
def faster_here() -> bool:
    """Whether oneDNN's float32 product beats torch.mm here: on AMD with AVX-512. Elsewhere it was not measured.

    A rule about the CPU and no stopwatch, so that an interrupted run goes on with the arithmetic it began with.
    `lidardistill bench conv` shows the rates of both; `LIDARDISTILL_ONEDNN` overrules it.
    """
    said = os.environ.get(SWITCH, "")
    if said not in ("", "0", "1"):
        raise ValueError(f"{SWITCH}={said}: expected 0 or 1")
    rule = torch.backends.cpu.get_cpu_capability() == "AVX512" and _vendor() == "AuthenticAMD"
    return available() and (rule if said == "" else said == "1")


def _vendor() -> str:
    """What the CPU calls its maker; "" where Linux does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "")
