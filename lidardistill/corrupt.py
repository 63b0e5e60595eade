"""Errors of one keyframe's files. A loader replaces such a keyframe by another one; every other error ends the run."""

from __future__ import annotations


class CorruptSample(ValueError):
    """A file of one keyframe cannot be used. The message has the file, what was expected, and what was found."""


class CorruptPoints(CorruptSample):
    """The points of a scan cannot be used. The message lacks the file, which the function that raises does not know."""
