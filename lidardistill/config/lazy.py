"""Import a class at its first use, so that reading configs imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def class_at(place: str) -> Any:
    """Return the class at `module:Class`, such as `lidardistill.backbones.minkunet.net:MinkUNet`."""
    module, name = place.split(":")
    return getattr(import_module(module), name)
