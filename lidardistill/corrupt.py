"""Errors of one keyframe's files. A loader replaces such a keyframe; every other error ends the run."""

from __future__ import annotations


class CorruptSample(ValueError):
    """A file of one keyframe cannot be used. The message has the file, the expected and the found value."""


class CorruptPoints(CorruptSample):
    """The points of a scan cannot be used. The message does not name the file; the caller adds it."""
