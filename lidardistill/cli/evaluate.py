"""`lidardistill evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def run(
    run: Annotated[
        Path, typer.Option(metavar="RUN", help="A probe, fine-tuning or mapseg run.", show_default=False)
    ],
    split: Annotated[str, typer.Option(help="Such as val or mini_val.", show_default=False)],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Predictions and metrics.json.", show_default=False)
    ],
    corruption: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Score corrupted scans too: all, or some of fog,snow,beam-missing,crosstalk,motion-blur,"
            "incomplete-echo,cross-sensor,spoofing.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="What mCE is against: a run, or the --out of its evaluation with the same --corruption.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the corruptions.", min=0)] = 0,
) -> None:
    """Score a run on a split: points by nuscenes-devkit, maps as BEVFusion does."""
    from lidardistill.engine.run_folder import run_values

    if run_values(run).get("verb") == "mapseg":
        from lidardistill.cli.scores import print_maps
        from lidardistill.engine.mapseg import evaluate_maps

        if corruption is not None or baseline is not None:
            raise ValueError(
                f"{run} is a mapseg run: --corruption and --baseline are for probe and fine-tuning runs"
            )
        print_maps(evaluate_maps(run, split, out), out)
        return
    if corruption is None:
        if baseline is not None:
            raise ValueError("--baseline is what corrupted scans are compared with: give --corruption too")
        from lidardistill.cli.scores import print_scores
        from lidardistill.engine.downstream import evaluate

        print_scores(evaluate(run, split, out), out)
        return
    from lidardistill.cli.scores import print_robustness
    from lidardistill.engine.robustness import evaluate_corrupted

    def progress(name: str, severity: int, miou: float) -> None:
        print(f"  {name:16s} severity {severity}: {100 * miou:5.1f}", file=sys.stderr)

    names = [name.strip() for name in corruption.split(",")]
    result = evaluate_corrupted(run, split, out, names, seed=seed, baseline=baseline, on_score=progress)
    print_robustness(result, out)
