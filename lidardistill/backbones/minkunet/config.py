"""Config of minkunet."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat

from lidardistill.config.base import Strict


class MinkUNetConfig(Strict):
    makes: ClassVar[Literal["points", "map"]] = "points"

    kind: Literal["minkunet"] = "minkunet"
    preset: Literal["minkunet34", "minkunet18", "minkunet14", "mini"] = "minkunet34"
    bn_momentum: PositiveFloat = 0.05
    block_bn_momentum: PositiveFloat = 0.1
