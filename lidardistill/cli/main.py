"""The command `lidardistill`: one file for each verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import logging
import os
import sys

import typer

from lidardistill.cli import (
    bench,
    demo,
    detect,
    doctor,
    evaluate,
    export,
    finetune,
    mapseg,
    pairs,
    pretrain,
    probe,
    profile,
    report,
    superpixels,
    synth,
)

app = typer.Typer(
    name="lidardistill",
    help="Pretrain LiDAR backbones from cameras, without labels. "
    "Start with: lidardistill demo --out runs/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    demo,
    synth,
    doctor,
    pairs,
    superpixels,
    pretrain,
    probe,
    finetune,
    detect,
    mapseg,
    evaluate,
    report,
    bench,
    profile,
    export,
):
    app.command(name=verb.__name__.rpartition(".")[2])(verb.run)


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 1, never a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if os.environ.get("LIDARDISTILL_TRACEBACK"):
        app()
        return
    try:
        app()
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        print("(LIDARDISTILL_TRACEBACK=1 shows where)", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
