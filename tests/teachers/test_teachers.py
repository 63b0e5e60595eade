"""Teachers are frozen, whatever is done to them."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from lidardistill.teachers.base import Teacher
from lidardistill.teachers.kinds import TeacherConfig
from lidardistill.teachers.resnet import ResNet50


def built(kind, **options):
    return TypeAdapter(TeacherConfig).validate_python({"kind": kind, **options}).build()


class Encoder(nn.Module):
    out_channels, stride = 4, 2

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)

    def forward(self, images):
        return self.norm(self.conv(images))


def test_a_teacher_stays_frozen_inside_a_training_parent():
    teacher = Teacher(Encoder())
    parent = nn.ModuleDict({"teacher": teacher, "head": nn.Conv2d(4, 2, 1)}).train()
    assert not any(module.training for module in teacher.modules())
    assert parent["head"].training
    before = copy.deepcopy(teacher.state_dict())
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    maps = teacher(images)
    assert not maps.requires_grad
    parent["head"](maps).sum().backward()
    assert images.grad is None
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert (teacher.out_channels, teacher.stride) == (4, 2)


def test_autocast_reaches_the_encoder():
    teacher = Teacher(Encoder())
    assert teacher(torch.rand(1, 3, 8, 8)).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher(torch.rand(1, 3, 8, 8)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
)
def test_wrong_images_are_named(images):
    with pytest.raises(ValueError, match=r"\(V, 3, H, W\) floating RGB in 0\.\.1"):
        Teacher(Encoder())(images)


@pytest.mark.parametrize(
    ("kind", "options", "channels", "size"),
    [
        ("efficientnet_lite0", {}, 472, (4, 6)),
        ("efficientnet_lite0", {"blocks": (10,), "stride": 16}, 112, (2, 3)),
        ("random_efficientnet_lite0", {}, 472, (4, 6)),
        ("color_histogram", {}, 72, (4, 6)),
        ("resnet50", {"dilated": True}, 2048, (8, 12)),
        ("resnet50", {"dilated": False}, 2048, (1, 2)),
    ],
)
def test_every_kind_gives_maps(kind, options, channels, size):
    teacher = built(kind, **options)
    maps = teacher(torch.rand(1, 3, 32, 48))
    assert maps.shape == (1, channels, *size)
    assert teacher.out_channels == channels
    assert maps.isfinite().all()


def test_resnet_weights_come_from_the_file(tmp_path):
    torch.manual_seed(0)
    source = ResNet50()
    torch.save(
        {"state_dict": {f"module.encoder_q.{k}": v for k, v in source.state_dict().items()}},
        tmp_path / "m.pth",
    )
    teacher, x = built("resnet50", weights=str(tmp_path / "m.pth")), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(teacher(x), source.eval()(x))


def test_resnet_without_weights_warns(caplog):
    with caplog.at_level(logging.WARNING):
        built("resnet50")
    assert "random" in caplog.text


def test_what_cannot_be_built_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)'clip'.*'resnet50'"):
        built("clip")
    with pytest.raises(ValueError, match="weights"):
        built("dinov2")
    with pytest.raises(ValueError, match="weights"):
        built("color_histogram", weights="w.pth")
    with pytest.raises(FileNotFoundError, match=r"w\.pth"):
        built("resnet50", weights=str(tmp_path / "w.pth"))
