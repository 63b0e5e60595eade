"""`lidardistill demo`: render a world, pretrain on it, judge the backbone, write a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lidardistill.cli.options import OutOption


def run(out: OutOption) -> None:
    """Render a world, pretrain on it, probe, and write a report. At most ten minutes on two cores."""
    from lidardistill.demo.run import ARMS, build_world, prepare, run_arms, summarise
    from lidardistill.demo.stages import Stages
    from lidardistill.progress import Bar
    from lidardistill.report.page import write_page
    from lidardistill.showcase.showcase import showcase_of_arm

    stages = Stages()
    print("1/4  The embedded driving world: streets, six cameras, one LiDAR, in nuScenes format.")
    with Bar("world") as bar:
        world = build_world(out, stages, lambda note, done, total: bar.update(done, total, note))
    print("2/4  Superpixels of the images, and their features by an ImageNet network.")
    with Bar("teacher") as bar:
        prepare(out, world, stages, lambda note, done, total: bar.update(done, total, note))
    print(
        "3/4  Three backbones: pretrained, random, and pretrained on permuted pairs; a linear probe on each."
    )
    with Bar("pretraining") as bar:
        results = run_arms(out, world, stages, lambda note, done, total: bar.update(done, total, note))
    print("4/4  The report.")
    summarise(out, results, stages)  # the page shows it
    with stages.stage("report"):
        showcase_of_arm(out / "pretrained")
        page = write_page([out / arm for arm in ARMS], out / "report.html", title="lidardistill demo")
    print(_closing_words(summarise(out, results, stages), page))


def _closing_words(summary: dict[str, Any], page: Path) -> str:
    """Return the final text: scores, the report, and the next commands."""
    pretrained, random, permuted = (summary[arm][0] for arm in ("pretrained", "random", "permuted"))
    minutes = summary["seconds"]["total"] / 60
    return f"""
What was learnt, without a single label: a LiDAR network that saw only which points and which image
regions belong together now tells road, cars, trees and people apart. One linear layer on its frozen
features reaches

  {pretrained:5.1f} mIoU  pretrained
  {random:5.1f} mIoU  the same network, random
  {permuted:5.1f} mIoU  pretrained with points and regions permuted, so that there is nothing to learn
  {summary["hand_made"][0]:5.1f} mIoU  intensity, height and range alone, no network

on scenes that it never saw, scored by nuscenes-devkit ({minutes:.1f} minutes in all).
Results of more arms, worlds and seeds: datasets/results/embedded_world.md.

Look:   {page}
Next, with your own nuScenes in data/nuscenes (datasets/README.md says how to get it):
  lidardistill doctor   --dataroot data/nuscenes --version v1.0-trainval
  lidardistill pretrain configs/pretrain/slidr_minkunet34_imagenet.yaml --out runs/slidr
  lidardistill probe    configs/probe/nuscenes.yaml --weights runs/slidr --out runs/slidr_probe
"""
