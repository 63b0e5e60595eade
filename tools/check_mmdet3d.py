"""Our backbones against mmdet3d's own, on the same points: exported, loaded there strictly, compared in eval
mode.

Usage, in the environment of tools/build_mmdet3d.sh:
    OMP_NUM_THREADS=1 python tools/check_mmdet3d.py [--out FILE.json] [--cases NAME ...] [--sweep
    FILE.pcd.bin]
        [--mmdetection3d CHECKOUT] [--openpcdet CHECKOUT]
BEVFusion is in no wheel of mmdet3d, and OpenPCDet in none at all: the last two name their checkouts.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import (
    FEATURES,
    bev_card,
    bev_inputs,
    difference,
    draw,
    exported,
    filled,
    load_into,
    register,
    two_clouds,
)
from torch import Tensor

from lidardistill.atomic import write_json_atomic
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.backbones.minkunet.net import MinkUNet
from lidardistill.data.batch import VoxelBatch
from lidardistill.engine.manifest import git_state, versions
from lidardistill.export.head_mmdet3d import HEAD, head_to_mmdet3d
from lidardistill.tasks.detect.center.head import BRANCHES, CenterHead

TOLERANCE = 1e-4
PACKAGES = ("mmdet3d", "mmdet", "mmcv", "mmengine")
MINKUNET_PRESETS = ("minkunet34", "minkunet18", "mini")
BEV_PRESETS = ("voxelnet01", "voxelnet0075", "second01", "pillars02", "voxelnet_mini", "pillars_mini")
STOCK = {"voxelnet01": "voxel01", "voxelnet0075": "voxel0075", "pillars02": "pillar02"}
"""Presets whose detector is one of mmdet3d's own configurations as it stands."""


def centerpoint(preset: str, clouds: list[np.ndarray] | None = None) -> dict[str, Any]:
    """Maps of CenterPoint's backbone and of its head, from points.

    Where `clouds` are given, and not kept off the borders of voxels, each side makes its own voxels of them:
    mmdet3d counts in float32, and means no more than the first ten points of a voxel.
    """
    from mmdet3d.registry import MODELS
    from mmengine.config import Config

    net = filled(preset)
    scans = two_clouds(net.voxels) if clouds is None else clouds
    inputs = bev_inputs(net, scans)
    draw(net, lambda: net(inputs).bev)
    path, card = exported(net, bev_card(preset, net), "mmdet3d")
    name = "centerpoint/centerpoint_{}_second_secfpn_8xb4-cyclic-20e_nus-3d.py".format(
        STOCK.get(preset, "voxel01")
    )
    if preset == "pillars_mini":
        name = card["base"].removeprefix("mmdet3d::")
    cfg = Config.fromfile(f"{configs()}/{name}")
    if preset not in STOCK:
        cfg.merge_from_dict({"model": card["model"]})
    theirs = MODELS.build(cfg.model).eval()
    matched = load_into(theirs, path, "pts_bbox_head.")
    head = CenterHead(net.out_channels)
    with torch.no_grad():
        data = {"inputs": {"points": [torch.from_numpy(scan) for scan in scans]}, "data_samples": None}
        batch = theirs.data_preprocessor(data)["inputs"]
        _, maps = theirs.extract_feat(batch, [{}] * len(scans))
        bev = net(inputs).bev
        # mmdet3d takes the first so many points of a voxel; pillars do here too.
        counts = torch.bincount(inputs.point2voxel[inputs.point_mask])
        limit = batch["voxels"]["voxels"].shape[1]
        voxels_cut = 0 if net.reads_points else int((counts > limit).sum())
        # The same voxels for both, in float32 and float64: what is left is the network, then without its
        # rounding.
        same = bev_inputs_of(batch["voxels"], len(scans))
        bev_same = net(same).bev
        draw(head, lambda: head(bev))
        heads = head_to_mmdet3d(head.state_dict())
        theirs.pts_bbox_head.load_state_dict({k.removeprefix(HEAD): v for k, v in heads.items()}, strict=True)
        found = {
            "bev" if clouds is None else "bev_of_own_voxels": difference(bev, maps[0]),
            "cells_that_differ": int((bev - maps[0]).abs().amax(1).gt(TOLERANCE).sum()),
            "bev_of_the_same_voxels": difference(bev_same, maps[0]),
            "head": difference(*heads_of(head, theirs, bev_same, maps)),
        }
        voxels = as_double(batch["voxels"])
        _, maps64 = theirs.double().extract_feat({"voxels": voxels}, [{}] * len(scans))
        bev64 = net.double()(bev_inputs_of(voxels, len(scans))).bev
        found["bev_of_the_same_voxels_float64"] = difference(bev64, maps64[0])
        found["head_float64"] = difference(*heads_of(head.double(), theirs, bev64, maps64))
    return {
        "config": f"mmdet3d::{name}" + ("" if preset in STOCK else " and the parts in the card"),
        **matched,
        "voxels": len(inputs.voxel_coords),
        "voxels_differ": voxels_that_differ(inputs.voxel_coords, batch["voxels"]["coors"]),
        "voxels_cut": voxels_cut,
        **found,
    }


def heads_of(head: CenterHead, theirs: Any, bev: Tensor, maps: Any) -> tuple[Tensor, Tensor]:
    """All maps of both heads, (B, channels, H, W)."""
    names = ("heatmap", "reg", "height", "dim", "rot", "vel")
    assert len(names) == len(BRANCHES) + 1
    ours = torch.cat([torch.cat([task.heatmap, task.values], 1) for task in head(bev)], 1)
    tasks = [task[0] for task in theirs.pts_bbox_head(maps)]
    return ours, torch.cat([torch.cat([task[name] for name in names], 1) for task in tasks], 1)


def as_double(tensors: dict[str, Any]) -> dict[str, Any]:
    return {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in tensors.items()}


def bev_inputs_of(voxels: dict[str, Tensor], batch_size: int) -> VoxelBatch:
    """A batch out of mmdet3d's hard voxels."""
    points, count = voxels["voxels"], voxels["num_points"]
    num, slots, width = points.shape
    filled = torch.arange(slots) < count[:, None]
    return VoxelBatch(
        features=points.sum(1) / count[:, None],
        voxel_coords=voxels["coors"].int(),
        spatial_shape=(0, 0, 0),  # VoxelNet and pillars know their own grid
        point2voxel=torch.arange(num).repeat_interleave(slots),
        point_mask=filled.flatten(),
        batch_size=batch_size,
        point_features=points.reshape(-1, width),
    )


def minkunet(preset: str = "minkunet34") -> dict[str, Any]:
    """mmdet3d's MinkUNet on spconv, the same voxels counted x, y, z; sides are multiples of 16 as it needs
    them."""
    from mmdet3d.registry import MODELS
    from mmengine.config import Config

    net = MinkUNet(4, MinkUNetConfig(preset=preset))
    rng = np.random.default_rng(0)
    shape = (32, 96, 80)
    cells = rng.choice(2 * int(np.prod(shape)), 9000, replace=False)
    coords = np.stack(np.unravel_index(np.sort(cells), (2, *shape)), 1).astype(np.int32)
    coords[-1] = (1, *(n - 1 for n in shape))  # the far corner: mmdet3d takes the sides from the voxels
    coords_zyx = torch.from_numpy(np.unique(coords, axis=0))
    features = torch.from_numpy(rng.normal(size=(len(coords_zyx), 4)).astype(np.float32))
    draw(net, lambda: net.convolve(features, coords_zyx, shape, 2))
    voxels = {
        "kind": "cartesian",
        "voxel_size": (0.1,) * 3,
        "point_features": list(FEATURES[:4]),
        "intensity_scale": 1.0,
    }
    card = {"student": {"kind": "minkunet", "preset": preset}, "voxels": voxels, "version": "check"}
    path, card = exported(net, card, "mmdet3d")
    cfg = Config.fromfile(f"{configs()}/{card['base'].removeprefix('mmdet3d::')}")
    cfg.merge_from_dict({"model": card["model"]})
    theirs = MODELS.build(cfg.model).eval()
    matched = load_into(theirs, path, "decode_head.")
    with torch.no_grad():
        ours = net.convolve(features, coords_zyx, shape, 2)
        coords_xyz = coords_zyx[:, [0, 3, 2, 1]].contiguous()
        found = theirs.backbone(features, coords_xyz)
        ours64 = net.double().convolve(features.double(), coords_zyx, shape, 2)
        found64 = theirs.double().backbone(features.double(), coords_xyz)
    return {
        "config": f"{card['base']} and the parts in the card",
        **matched,
        "voxels": len(features),
        "features": difference(ours, found),
        "features_float64": difference(ours64, found64),
    }


def voxels_that_differ(ours: Tensor, theirs: Tensor) -> int:
    return len({tuple(row) for row in ours.tolist()} ^ {tuple(row) for row in theirs.tolist()})


def configs() -> Path:
    """mmdet3d's own configurations, which its wheel ships."""
    import mmdet3d

    register()
    return Path(mmdet3d.__file__).parent / ".mim" / "configs"


def cases(
    mmdetection3d: Path | None = None, pcdet: Path | None = None, sweep: Path | None = None
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What can be compared here, by name."""
    found: dict[str, Callable[[], dict[str, Any]]] = {
        f"centerpoint {preset}": partial(centerpoint, preset) for preset in BEV_PRESETS
    }
    found |= {f"minkunet {preset}": partial(minkunet, preset) for preset in MINKUNET_PRESETS}
    if sweep:
        points = np.fromfile(sweep, np.float32).reshape(-1, 5)
        points[:, 4] = 0  # the file has the ring there, a pipeline the time lag
        for preset in ("voxelnet01", "pillars02"):
            found[f"centerpoint {preset}, real sweep"] = partial(centerpoint, preset, [points])
    if mmdetection3d or pcdet:
        import check_detector_checkouts as checkouts
    if mmdetection3d:
        found["bevfusion voxelnet0075"] = partial(checkouts.bevfusion, mmdetection3d)
    if pcdet:
        found |= {
            f"openpcdet {preset}": partial(checkouts.openpcdet, pcdet, preset)
            for preset in ("voxelnet01", "second01", "pillars02")
        }
    return found


def worst(figures: dict[str, Any]) -> float:
    """Largest difference in float32 of a case where both sides have the same voxels."""
    names = {"bev", "head", "bev_of_the_same_voxels", "features"}
    parts = [figures[name] for name in names & set(figures)]
    return max(part["max_abs_difference"] for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cases", nargs="+", metavar="NAME")
    parser.add_argument("--sweep", type=Path, help="a LIDAR_TOP file of nuScenes, for two more cases")
    parser.add_argument("--mmdetection3d", type=Path)
    parser.add_argument("--openpcdet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)  # spconv's CPU convolutions are wrong with more
    available = cases(options.mmdetection3d, options.openpcdet, options.sweep)
    record: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "git": git_state(),
        "versions": versions() | {name: _version(name) for name in PACKAGES},
        "checkouts": {
            checkout.name: git_state(checkout)["commit"]
            for checkout in (options.mmdetection3d, options.openpcdet)
            if checkout
        },
        "tolerance": TOLERANCE,
        "cases": {},
    }
    for name in options.cases or available:
        torch.manual_seed(0)
        start = time.perf_counter()
        figures = available[name]()
        figures["seconds"] = round(time.perf_counter() - start, 1)
        record["cases"][name] = figures
        print(
            f"{name:<28}{figures['keys']:>5} keys matched, largest difference {worst(figures):.1e}",
            flush=True,
        )
        if options.out:
            write_json_atomic(options.out, record)
    if any(worst(figures) > TOLERANCE for figures in record["cases"].values()):
        sys.exit(f"larger than {TOLERANCE:g}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
