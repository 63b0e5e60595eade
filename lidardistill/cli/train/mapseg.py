"""`lidardistill mapseg`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lidardistill.cli.options import OutOption, Overrides, WeightsOption, config_argument


def run(
    config: Annotated[Path, config_argument("configs/mapseg/demo.yaml")],
    weights: WeightsOption,
    out: OutOption,
    overrides: Overrides = None,
) -> None:
    """Train map segmentation on a share of the scenes, and score it as BEVFusion does."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.mapseg.config import MapSegConfig

    resolved = load_config(MapSegConfig, config, overrides or ())
    from lidardistill.cli.scores import print_maps
    from lidardistill.report.draw.encode import save_png
    from lidardistill.report.draw.map_masks import maps_picture
    from lidardistill.tasks.mapseg.run import SHOWN_FILE, mapseg

    metrics = mapseg(resolved, weights, out)
    if not metrics:  # the first process alone has them
        return
    print_maps(metrics, out)
    picture = save_png(maps_picture(out / SHOWN_FILE, metrics["threshold"]), out / "maps.png", colors=64)
    print(f"picture: {picture}")
