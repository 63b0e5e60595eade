"""The command `lidardistill`: one file for each verb. Heavy imports wait until a verb runs."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from lidardistill.cli import bench, demo, doctor, evaluate, export, pairs, profile, report, superpixels, synth
from lidardistill.cli.train import detect, finetune, mapseg, pretrain, probe
from lidardistill.engine.signals import Interrupted

app = typer.Typer(
    name="lidardistill",
    help="Pretrain LiDAR backbones from cameras, without labels. "
    "Start with: lidardistill demo --out runs/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
VERBS: tuple[Any, ...] = (
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
)


def main() -> None:
    """Run the command. An error prints one line and exits with 1; LIDARDISTILL_TRACEBACK=1 raises it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # SIGTERM would end this process at once; an exception lets it end its children and remove unfinished
    # files.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    except Exception as error:
        if os.environ.get("LIDARDISTILL_TRACEBACK"):
            raise
        print(f"error: {message_of(error)}", file=sys.stderr)
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def message_of(error: Exception) -> str:
    """Return the message for the user. User mistakes keep their message; every other error is a bug."""
    if isinstance(error, (ValueError, OSError, ImportError, RuntimeError)) and not isinstance(
        error, (RecursionError, NotImplementedError)
    ):
        return f"{error}\n(LIDARDISTILL_TRACEBACK=1 shows where)"
    if isinstance(error, MemoryError):
        return (
            f"memory ran out{f' ({error})' if str(error) else ''}: lower data.batch_size or "
            "data.num_workers, or read fewer scenes\n(LIDARDISTILL_TRACEBACK=1 shows where)"
        )
    if isinstance(error, _EndOfFileError):
        assert isinstance(error.__cause__, EOFError)
        error = error.__cause__
    text = " ".join(str(error).split())
    return (
        f"this is a bug of lidardistill: {type(error).__name__}{f': {text}' if text else ''} "
        f"({_place(error)}). Run the same command with LIDARDISTILL_TRACEBACK=1 and report the traceback"
    )


def _place(error: BaseException) -> str:
    """Return the last line of our own code in the traceback of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "lidardistill" in Path(frame.filename).parts] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "place unknown"


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


class _EndOfFileError(Exception):
    """Wrapper of an EOFError; the command-line library prints a bare one as "Aborted!"."""


def _guarded(verb: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(verb)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return verb(*arguments, **options)
        except EOFError as error:
            raise _EndOfFileError from error

    return call


for _verb in VERBS:
    app.command(name=_verb.__name__.rpartition(".")[2])(_guarded(_verb.run))
