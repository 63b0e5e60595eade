"""Random streams: the last entry of a seed sequence, so that two uses of one seed never share their draws."""

from __future__ import annotations

from enum import IntEnum


class Stream(IntEnum):
    """What is drawn. A number must never change or be used again, or the same seed gives another run."""

    SUBSTITUTE = 1
    """Which keyframe replaces one that cannot be read."""
    ORDER = 2
    """The order of the keyframes in an epoch."""
    METHOD = 3
    """What a pretraining method draws in a step, such as permuted pairs."""
    BALANCE = 5
    """Which keyframes are repeated for class balance."""
    TERM = 7
    """First weights of the head of an added BEV term."""
