"""Stateless torch functions."""

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_sample import bev_sample, bev_warp
from lidardistill.ops.bev_scatter import bev_occupied, bev_scatter
from lidardistill.ops.frustum import FrustumCells, cells_in_view, frustum_cells
from lidardistill.ops.gather import all_gather_ragged, all_gather_with_grad, rank_weight
from lidardistill.ops.lift_splat import lift_splat
from lidardistill.ops.segment import segment_count, segment_max, segment_mean
from lidardistill.ops.superpixel_pool import superpixel_pool

__all__ = [
    "BevGrid",
    "FrustumCells",
    "all_gather_ragged",
    "all_gather_with_grad",
    "bev_occupied",
    "bev_sample",
    "bev_scatter",
    "bev_warp",
    "cells_in_view",
    "frustum_cells",
    "lift_splat",
    "rank_weight",
    "segment_count",
    "segment_max",
    "segment_mean",
    "superpixel_pool",
]
