"""Vision transformers: which tokens become the map, and what a wrong folder says."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lidardistill.teachers.vit import VisionTransformer, load_vit


class FakeTransformer(nn.Module):
    """Token = mean colour of its patch, behind `prefix` tokens of -1, as transformers' models return them."""

    def __init__(self, patch=4, prefix=5):
        super().__init__()
        self.config = SimpleNamespace(hidden_size=3, patch_size=patch)
        self.prefix = prefix

    def forward(self, pixel_values):
        assert pixel_values.shape[-1] % self.config.patch_size == 0
        assert pixel_values.shape[-2] % self.config.patch_size == 0
        tokens = nn.functional.avg_pool2d(pixel_values, self.config.patch_size).flatten(2).transpose(1, 2)
        lead = -torch.ones(len(tokens), self.prefix, 3)
        return SimpleNamespace(last_hidden_state=torch.cat([lead, tokens], 1))


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_patch_tokens_become_the_map_and_others_are_dropped(prefix):
    net = VisionTransformer(FakeTransformer(prefix=prefix))
    images = torch.rand(2, 3, 12, 20)
    maps = net(images)
    assert (net.out_channels, net.stride) == (3, 4)
    torch.testing.assert_close(maps, nn.functional.avg_pool2d((images - net.mean) / net.std, 4))


def test_an_image_is_resized_to_whole_patches():
    maps = VisionTransformer(FakeTransformer())(torch.ones(1, 3, 13, 18))
    assert maps.shape == (1, 3, 3, 4)
    torch.testing.assert_close(maps[0, 0], torch.full((3, 4), (1 - 0.485) / 0.229))


def folder(tmp_path, model_type="dinov2"):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


def test_a_missing_folder_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json and model\.safetensors at .*nothing"):
        load_vit("dinov2", tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_vit("dinov2", tmp_path)


def test_another_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model_type is 'bert', dinov3 expects one of dinov3_vit"):
        load_vit("dinov3", folder(tmp_path, "bert"))
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        load_vit("dinov3", tmp_path)


def test_without_transformers_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'transformers>=4\.56'"):
        load_vit("dinov2", folder(tmp_path))


def tiny_model(transformers, kind):
    size = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 14,
        "image_size": 56,
    }
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**size))
    if kind == "dinov2_with_registers":
        return transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**size))
    size |= {"patch_size": 16, "intermediate_size": 64, "num_register_tokens": 4}
    return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**size))


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_with_registers", "dinov3"])
def test_a_real_tiny_model_from_a_folder(tmp_path, kind):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    model = tiny_model(transformers, kind).eval()
    model.save_pretrained(tmp_path)
    net = load_vit(kind.split("_")[0], tmp_path).eval()
    patch = net.stride
    images = torch.rand(2, 3, 3 * patch + 1, 5 * patch)
    with torch.no_grad():
        maps = net(images)
        resized = torch.nn.functional.interpolate(
            (images - net.mean) / net.std, (3 * patch, 5 * patch), mode="bilinear", align_corners=True
        )
        tokens = model(pixel_values=resized).last_hidden_state
    assert maps.shape == (2, 32, 3, 5)
    prefix = tokens.shape[1] - 15
    assert prefix == {"dinov2": 1, "dinov2_with_registers": 5, "dinov3": 5}[kind]
    torch.testing.assert_close(maps[:, :, 1, 2], tokens[:, prefix + 1 * 5 + 2])


def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from safetensors.torch import load_file, save_file

    tiny_model(transformers, "dinov2").save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop(next(k for k in state if "layer.1" in k))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 weights are missing"):
        load_vit("dinov2", tmp_path)


def test_a_deeper_checkpoint_than_its_config_is_refused(tmp_path):
    """config.json of two layers beside a file of three: transformers would drop the third in silence."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from safetensors.torch import load_file, save_file

    tiny_model(transformers, "dinov2").save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    extra = {key.replace("layer.1.", "layer.2."): value for key, value in state.items() if "layer.1." in key}
    path = tmp_path / "model.safetensors"
    save_file(state | {"classifier.weight": torch.zeros(2, 2)}, path, metadata={"format": "pt"})
    load_vit("dinov2", tmp_path)
    save_file(state | {k: v.clone() for k, v in extra.items()}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"{len(extra)} weights have no place, such as .*layer\.2\."):
        load_vit("dinov2", tmp_path)
