"""The Triton kernels against their torch twin: in Triton's interpreter, through its compiler, and on a GPU.

The interpreter is chosen when triton is imported, so this file runs itself in a process of its own for that.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lidardistill.ops import superpixel_pool

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (pip install triton)"
)
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Of a gradient in the features' own type, relative."""


CASES = [
    # normalize, align_corners, masked, coarse, fine
    (True, True, True, (3, 4), (11, 14)),
    (True, False, False, (3, 4), (11, 14)),
    (False, True, True, (3, 4), (11, 14)),
    (True, False, True, (2, 2), (21, 34)),  # a cell's pixels are more than a block
    (True, True, False, (5, 7), (3, 2)),
    (True, True, False, (1, 1), (4, 3)),
    (True, True, True, (2, 2), (0, 4)),
]


def compare(features, superpixels, mask, **options):
    """Means, counts and gradients of the kernels and of their twin."""
    weight = torch.randn(2 * 10, features.shape[1], generator=torch.Generator().manual_seed(1))
    found = []
    for implementation in ("triton", "torch"):
        leaf = features.clone().requires_grad_()
        pooled, count = superpixel_pool(
            leaf, superpixels, 10, mask=mask, implementation=implementation, **options
        )
        (pooled * weight.to(pooled.device)).sum().backward()
        found.append((pooled.detach(), count, leaf.grad))
    return zip(*found, strict=True)


def draw(dtype, masked, coarse, fine, device, channels=6):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, channels, *coarse, generator=generator).to(dtype)
    superpixels = torch.randint(0, 9, (2, *fine), generator=generator, dtype=torch.int32)
    mask = torch.rand(2, *fine, generator=generator) > 0.3 if masked else None
    if mask is not None:
        superpixels[0][
            ~mask[0]
        ] = -1  # what lies under the mask is not looked at: no superpixel, or a real one
    return features.to(device), superpixels.to(device), None if mask is None else mask.to(device)


def check_against_the_twin(device):
    for dtype, rounding in ROUNDING.items():
        for normalize, align_corners, masked, coarse, fine in CASES if dtype == torch.float32 else CASES[:1]:
            drawn = draw(dtype, masked, coarse, fine, device)
            pooled, count, grad = compare(*drawn, normalize=normalize, align_corners=align_corners)
            torch.testing.assert_close(*pooled, atol=1e-6, rtol=1e-6)
            assert torch.equal(*count)
            assert grad[0].dtype == dtype
            torch.testing.assert_close(*grad, atol=1e-6, rtol=rounding)


def check_short_pixels_of_many_channels(device):
    """Pixels below the limit, whose length is a constant; more channels, smaller tiles."""
    features, superpixels, mask = draw(torch.float32, True, (2, 3), (5, 7), device, channels=300)
    _, _, grad = compare(1e-14 * features, superpixels, mask)
    assert grad[1].abs().max() > 1e10
    torch.testing.assert_close(grad[0] * 1e-12, grad[1] * 1e-12, atol=1e-6, rtol=1e-5)


@needs_triton
def test_in_the_interpreter():
    """On the CPU: the arithmetic, not what a compiler or a GPU makes of it."""
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path]),
    }
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == ["agrees"]


@needs_triton
@pytest.mark.parametrize("capability", [80, 90])
def test_they_compile_without_a_gpu(capability):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lidardistill.ops.kernels import superpixel_pool_triton as kernels

    tile = kernels._tile(64)
    pointers = {"features": "*bf16", "grad_features": "*bf16", "mask": "*u8"}
    floats = {"row_weight", "column_weight", "total", "count", "inverse", "grad", "slope"}
    constants = {
        kernels._pool: {"MASKED": True, "NORMALIZE": True, **tile},
        kernels._slope: {"MASKED": True, **tile},
        kernels._pool_backward: {"MASKED": True, "NORMALIZE": True, "TILE": 16, "BLOCK_C": 64},
    }
    for kernel, constant in constants.items():
        signature = {}
        for name in kernel.arg_names:
            integer = "*i32" if name == "superpixels" or name.endswith(("lower", "upper", "first")) else "i32"
            scalar = "fp32" if name in {"shortest", "longest"} else integer
            other = "*fp32" if name in floats else scalar
            signature[name] = "constexpr" if name in constant else pointers.get(name, other)
        source = ASTSource(fn=kernel, signature=signature, constexprs=constant)
        assert len(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]) > 0


@pytest.mark.gpu
@needs_triton
def test_on_a_gpu(device):
    check_against_the_twin(device)
    check_short_pixels_of_many_channels(device)


if __name__ == "__main__":
    torch.set_num_threads(1)
    check_against_the_twin("cpu")
    check_short_pixels_of_many_channels("cpu")
    print("agrees")
