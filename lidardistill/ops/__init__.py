"""Stateless torch functions."""

from lidardistill.ops.gather import all_gather_ragged, all_gather_with_grad, rank_weight
from lidardistill.ops.segment import segment_count, segment_max, segment_mean
from lidardistill.ops.superpixel_pool import superpixel_pool

__all__ = [
    "all_gather_ragged",
    "all_gather_with_grad",
    "rank_weight",
    "segment_count",
    "segment_max",
    "segment_mean",
    "superpixel_pool",
]
