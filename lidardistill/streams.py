"""Random streams: the last entry of a seed sequence, so that two uses of one seed never share draws."""

from __future__ import annotations

from enum import IntEnum


class Stream(IntEnum):
    """Purpose of a random stream. Never change or reuse a number: the same seed would give another run."""

    SUBSTITUTE = 1
    """Choice of the substitute for an unreadable keyframe."""
    ORDER = 2
    """Order of the keyframes in an epoch."""
    METHOD = 3
    """Draws of a pretraining method in a step, such as permuted pairs."""
    BALANCE = 5
    """Choice of the keyframes that class balancing repeats."""
    TERM = 7
    """Initial weights of the head of an added BEV term."""
