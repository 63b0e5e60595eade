"""ResNet-50: strides, dilation, and every kind of published checkpoint (made up here)."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lidardistill.teachers.resnet import ResNet50, load_resnet


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    net = ResNet50(dilated=False)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return {k: v.clone() for k, v in net.state_dict().items()}


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def checkpoints(s):
    """What the authors' files look like, by kind."""
    fc = {"fc.weight": torch.zeros(10, 2048), "fc.bias": torch.zeros(10)}
    mlp = {"fc.0.weight": torch.zeros(8, 2048), "fc.2.weight": torch.zeros(4, 8)}
    swav = {"projection_head.0.weight": torch.zeros(8, 2048), "prototypes.weight": torch.zeros(5, 8)}
    key = prefixed(s, "module.encoder_k.")
    return {
        "moco_v2": {
            "epoch": 800,
            "arch": "resnet50",
            "state_dict": prefixed(s | mlp, "module.encoder_q.") | key | {"module.queue": torch.zeros(4, 9)},
            "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}},
        },
        "swav": prefixed(s | swav, "module."),
        "swav_full": {"epoch": 1, "state_dict": prefixed(s | swav, "module.")},
        "dino": dict(s),
        "dino_full": {
            "student": prefixed(s, "module.backbone."),
            "teacher": prefixed(s, "backbone.") | {"head.mlp.0.weight": torch.zeros(8, 2048)},
        },
        "obow": {"epoch": 200, "network": s | fc},
        "torchvision": s | fc,
        "no_counters": {k: v for k, v in s.items() if "num_batches" not in k},
    }


KINDS = ["moco_v2", "swav", "swav_full", "dino", "dino_full", "obow", "torchvision", "no_counters"]


@pytest.mark.parametrize("kind", KINDS)
def test_published_checkpoints_fill_every_tensor(tmp_path, source, kind):
    content = checkpoints(source)
    assert list(content) == KINDS
    torch.save(content[kind], tmp_path / "c.pth.tar")
    net = ResNet50()
    report = load_resnet(net, tmp_path / "c.pth.tar")
    assert not report.missing + report.mismatched + report.unexpected
    for key, value in net.state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(value, source[key]), key


def test_a_checkpoint_of_something_else_is_refused(tmp_path, source):
    torch.save({"blocks.0.attn.weight": torch.ones(3)}, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match=r"vit\.pth holds no ResNet-50.*blocks\.0\.attn\.weight.*MoCo"):
        load_resnet(ResNet50(), tmp_path / "vit.pth")
    resnet18 = {k: v for k, v in source.items() if "conv3" not in k and "bn3" not in k}
    torch.save(resnet18, tmp_path / "r18.pth")
    with pytest.raises(ValueError, match=r"r18\.pth looks like ResNet-34 \(3, 4, 6, 3 basic"):
        load_resnet(ResNet50(), tmp_path / "r18.pth")


def of_depth(source, counts, width=64, groups=1):
    """A state dict with these blocks; ours where they are ResNet-50's."""
    found = {key: value for key, value in source.items() if not key.startswith("layer")}
    for stage, count in enumerate(counts, start=1):
        for block in range(count):
            like = f"layer{stage}.{min(block, 1)}."
            parts = {k.removeprefix(like): v for k, v in source.items() if k.startswith(like)}
            found |= {f"layer{stage}.{block}.{part}": value for part, value in parts.items()}
    found["layer1.0.conv2.weight"] = torch.zeros(width, width // groups, 3, 3)
    return found


@pytest.mark.parametrize(
    ("counts", "options", "name"),
    [
        ((3, 4, 23, 3), {}, r"ResNet-101 \(3, 4, 23, 3 bottleneck blocks of width 64\)"),
        ((3, 8, 36, 3), {}, "ResNet-152"),
        ((3, 4, 6, 4), {}, "another ResNet"),
        ((3, 4, 6, 3), {"width": 128}, r"a wide ResNet \(.*width 128"),
        ((3, 4, 6, 3), {"width": 128, "groups": 32}, "a ResNeXt .*32 groups"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_another_depth_or_width_is_refused_with_its_name(tmp_path, source, counts, options, name, prefix):
    torch.save(prefixed(of_depth(source, counts, **options), prefix), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"other\.pth looks like {name}.*expected ResNet-50"):
        load_resnet(ResNet50(), tmp_path / "other.pth")


@pytest.mark.parametrize("form", ["half", "safetensors", "optimizer"])
def test_other_forms_of_the_same_weights_load(tmp_path, source, form):
    path = tmp_path / ("c.safetensors" if form == "safetensors" else "c.pth")
    if form == "safetensors":
        save_file(source, path)
    else:
        state = {k: v.half() if form == "half" and v.is_floating_point() else v for k, v in source.items()}
        torch.save(state | {"optimizer": {"state": {0: torch.zeros(3)}}}, path)
    report = load_resnet(ResNet50(), path)
    assert not report.missing


def test_size_of_the_maps_and_number_of_parameters():
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert ResNet50(dilated=True).eval()(x).shape == (1, 2048, 16, 24)
        assert ResNet50(dilated=False).eval()(x).shape == (1, 2048, 2, 3)
    assert (
        sum(p.numel() for p in ResNet50().parameters()) == 25_557_032 - 2_049_000
    )  # torchvision's without fc


def test_dilation_and_stride_of_every_block():
    """As torchvision with replace_stride_with_dilation=[True] * 3; in the plain net only strides."""
    dilated, plain = ResNet50(True), ResNet50(False)
    for i, (blocks, first, rest) in enumerate([(3, 1, 1), (4, 1, 2), (6, 2, 4), (3, 4, 8)], start=1):
        layer = getattr(dilated, f"layer{i}")
        assert [b.conv2.dilation[0] for b in layer] == [first] + [rest] * (blocks - 1)
        assert {b.conv2.stride[0] for b in layer} == {1}
        layer = getattr(plain, f"layer{i}")
        assert {b.conv2.dilation[0] for b in layer} == {1}
        assert [b.conv2.stride[0] for b in layer] == [1 if i == 1 else 2] + [1] * (blocks - 1)


def test_dilated_net_sees_what_the_plain_net_sees(source):
    """With the same weights every 8th cell of the dilated map is a cell of the plain one: dilation instead of stride."""
    maps = []
    x = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    for dilated in (True, False):
        net = ResNet50(dilated).eval()
        net.load_state_dict(source)
        with torch.no_grad():
            maps.append(net(x))
    every_eighth = maps[0][:, :, ::8, ::8]
    assert every_eighth.shape == maps[1].shape == (1, 2048, 4, 5)
    assert (every_eighth - maps[1]).abs().max() < 1e-3 * maps[1].abs().max()


def test_images_are_normalised_inside():
    net = ResNet50().eval()
    seen = []
    net.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        net(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 32, 32))
        net(torch.tensor([0.485 + 0.229, 0.456 + 0.224, 0.406 + 0.225]).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    assert seen[0].abs().max() < 1e-6
    torch.testing.assert_close(seen[1], torch.ones_like(seen[1]))
