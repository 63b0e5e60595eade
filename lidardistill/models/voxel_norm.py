"""BatchNorm over voxels, and the ReLU that follows it: on a CPU in two passes over the voxels instead of five."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidardistill.models import _voxel_norm_numba as kernels


class VoxelBatchNorm(nn.BatchNorm1d):
    """BatchNorm over voxels that also takes none or a single one in train mode.

    The variance of one voxel says nothing, and torch refuses it. Such a level (a nearly empty scan at stride 16) is
    normalised with the running statistics, which it leaves alone. `SyncBatchNorm.convert_sync_batchnorm` replaces it
    like any BatchNorm; there the count is that of all ranks.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] < 2:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


def norm_relu(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """relu(norm(x) + shortcut), by one function where it can be.

    Where it cannot (on CUDA, under autocast, in eval mode, when `norm` is another module or has hooks) it is torch's own
    operations (`norm_relu_torch`), its twin.

    Args:
        norm: `VoxelBatchNorm`, or what it was converted to.
        x: (M, C) floating.
        shortcut: (M, C) or None.

    Returns:
        (M, C), differentiable once. Running statistics move as `norm` moves them.
    """
    if not _is_plain(norm, x) or (shortcut is not None and shortcut.dtype != x.dtype):
        return norm_relu_torch(norm, x, shortcut)
    norm.num_batches_tracked.add_(1)
    return _NormRelu.apply(x, shortcut, norm.weight, norm.bias, norm)


def norm_relu_torch(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """`norm_relu` in torch's own operations."""
    y = norm(x)
    return F.relu(y if shortcut is None else y + shortcut, inplace=True)


def _is_plain(norm: nn.Module, x: Tensor) -> bool:
    return (
        type(norm) is VoxelBatchNorm
        and norm.training
        and norm.momentum is not None
        and norm.affine
        and norm.track_running_stats
        and not (norm._forward_hooks or norm._forward_pre_hooks)
        and x.device.type == "cpu"
        and x.dtype == norm.weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and len(x) > 1
    )


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, norm: VoxelBatchNorm
    ) -> Tensor:
        x, (count, channels) = x.contiguous(), x.shape
        total, square = torch.zeros(2, channels, dtype=torch.float64)
        kernels.moments(x.numpy(), total.numpy(), square.numpy())
        mean = total / count
        variance = (square / count - mean.square()).clamp_(min=0)
        norm.running_mean.lerp_(mean.to(x.dtype), norm.momentum)
        norm.running_var.lerp_((variance * (count / (count - 1))).to(x.dtype), norm.momentum)
        inverse = (variance + norm.eps).rsqrt()
        scale = weight * inverse
        shift = bias - mean * scale
        added = x.new_empty(0, channels) if shortcut is None else shortcut.contiguous()
        out = torch.empty_like(x)
        kernels.scale_and_relu(*(a.to(x.dtype).numpy() for a in (x, scale, shift, added, out)))
        ctx.save_for_backward(x, out, mean, inverse, scale)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, None]:
        x, out, mean, inverse, scale = ctx.saved_tensors
        masked = torch.empty_like(x)
        total, along = torch.zeros(2, x.shape[1], dtype=torch.float64)
        means = mean.to(x.dtype).numpy()
        kernels.relu_backward(
            grad.contiguous().numpy(),
            out.numpy(),
            x.numpy(),
            means,
            masked.numpy(),
            total.numpy(),
            along.numpy(),
        )
        slope = -scale * inverse.square() * along / len(x)
        factors = [a.to(x.dtype).numpy() for a in (scale, slope, -scale * total / len(x))]
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[1] else masked
        kernels.norm_backward(masked.numpy(), x.numpy(), means, *factors, grad_x.numpy())
        return (
            grad_x,
            masked if ctx.needs_input_grad[1] else None,
            (along * inverse).to(x.dtype),
            total.to(x.dtype),
            None,
        )
