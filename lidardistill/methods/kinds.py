"""The one list of methods. This module imports no torch: `method_class` imports a method on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, get_args

from pydantic import Field

from lidardistill.config.lazy import class_at
from lidardistill.methods.bevcontrast.config import BEVContrastConfig, BEVTermConfig
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.config import MethodConfig
from lidardistill.methods.ppkt.config import PPKTConfig
from lidardistill.methods.slidr.config import SLidRConfig

__all__ = ["METHODS", "SHARED_KEYS", "AnyMethodConfig", "BEVTermConfig", "SLidRConfig", "method_class"]

if TYPE_CHECKING:
    from lidardistill.methods.base import Method

AnyMethodConfig = Annotated[
    SLidRConfig | BEVContrastConfig | PRCConfig | RADConfig | PPKTConfig,
    Field(discriminator="kind"),
]

SHARED_KEYS = tuple(sorted(set().union(*(config.reads for config in get_args(get_args(AnyMethodConfig)[0])))))
"""Dotted keys of a run that some methods read and others do not."""

METHODS = {
    "slidr": "slidr.method:SLidR",
    "bevcontrast": "bevcontrast.method:BEVContrast",
    "calico_prc": "calico_prc.method:PRC",
    "calico_rad": "calico_rad.method:RAD",
    "ppkt": "ppkt.method:PPKT",
}
"""Kind to `room.module:class`."""


def method_class(config: MethodConfig) -> type[Method]:
    """Method class of a config."""
    found: type[Method] = class_at(f"lidardistill.methods.{METHODS[config.kind]}")
    return found
