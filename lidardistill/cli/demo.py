"""`lidardistill demo`: everything once, on the embedded world."""

from __future__ import annotations

from lidardistill.cli.options import OutOption


def run(out: OutOption) -> None:
    """Build a world, pretrain on it, probe, and write a report: at most ten minutes on two cores."""
    from lidardistill.engine.demo import run_demo

    run_demo(out)
