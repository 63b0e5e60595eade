"""SLidR's step against the published formulas written out slowly, and the controls."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.base import Backbone, Features
from lidardistill.data.batch import VoxelBatch
from lidardistill.methods.image_pairs import PairBatch
from lidardistill.methods.slidr.config import SLidRConfig
from lidardistill.methods.slidr.method import SLidR

VIEWS, SUPERPIXELS, HEIGHT, WIDTH = 3, 6, 16, 24


class Student(Backbone):
    """A linear map of voxel features: enough to carry gradients."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 8)

    def forward(self, scans: VoxelBatch) -> Features:
        return Features(self.linear(scans.features), scans.point2voxel, scans.point_mask)


class Teacher(nn.Module):
    """Average pooling and two more channels."""

    out_channels = 5

    def forward(self, images: Tensor) -> Tensor:
        small = F.avg_pool2d(images, 4)
        return torch.cat([small, small[:, :2].square()], dim=1)


def make_batch() -> PairBatch:
    draw = torch.Generator().manual_seed(1)
    points, voxels, pairs = 60, 40, 150
    view = torch.randint(VIEWS, (pairs,), generator=draw)
    row = torch.randint(HEIGHT, (pairs,), generator=draw)
    col = torch.randint(WIDTH, (pairs,), generator=draw)
    superpixels = torch.randint(SUPERPIXELS - 1, (VIEWS, HEIGHT, WIDTH), generator=draw, dtype=torch.int32)
    return PairBatch(
        sample_tokens=("a", "b"),
        points=torch.randn(points, 4, generator=draw),
        point_offsets=torch.tensor([0, 30, 60]),
        voxels=VoxelBatch(
            features=torch.randn(voxels, 2, generator=draw),
            voxel_coords=torch.zeros(voxels, 4, dtype=torch.int32),
            spatial_shape=(16, 16, 16),
            point2voxel=torch.randint(voxels, (points,), generator=draw),
            point_mask=torch.ones(points, dtype=torch.bool),
            batch_size=2,
        ),
        images=torch.rand(VIEWS, 3, HEIGHT, WIDTH, generator=draw),
        view_offsets=torch.tensor([0, 2, 3]),
        superpixels=superpixels,
        superpixel_mask=torch.ones(VIEWS, HEIGHT, WIDTH, dtype=torch.bool),
        num_superpixels=SUPERPIXELS,
        pairing_points=torch.randint(points, (pairs,), generator=draw),
        pairing_images=torch.stack([view, row, col], dim=1),
        teacher_features=None,
        teacher_count=None,
    )


@pytest.fixture
def batch() -> PairBatch:
    return make_batch()


def build(**options: object) -> SLidR:
    torch.manual_seed(0)
    return SLidR(SLidRConfig(embedding=4, **options), Student(), Teacher())  # type: ignore[arg-type]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def published_loss(method: SLidR, batch: PairBatch) -> Tensor:
    """Sparse one-hot products over every pixel and every pair, as the paper's code states the method."""
    points = F.normalize(method.student_head.linear(method.student.linear(batch.voxels.features)), dim=1)
    maps = method.teacher_head.conv(method.teacher(batch.images))
    pixels = F.interpolate(maps, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=True)
    pixels = F.normalize(pixels, dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    view, row, col = batch.pairing_images.unbind(1)
    ids = torch.arange(VIEWS)[:, None, None] * SUPERPIXELS + batch.superpixels
    rows = VIEWS * SUPERPIXELS
    point_hot = torch.zeros(rows, len(view))
    point_hot[ids[view, row, col], torch.arange(len(view))] = 1
    pixel_hot = torch.zeros(rows, ids.numel())
    pixel_hot[ids.flatten(), torch.arange(ids.numel())] = 1
    paired = points[batch.voxels.point2voxel[batch.pairing_points]]
    k = point_hot @ paired / (point_hot.sum(1, keepdim=True) + 1e-6)
    q = pixel_hot @ pixels / (pixel_hot.sum(1, keepdim=True) + 1e-6)
    seen = k[:, 0] != 0
    logits = k[seen] @ q[seen].T / 0.07
    return F.cross_entropy(logits, torch.arange(len(logits)))


def gradients(loss: Tensor, method: SLidR) -> list[Tensor]:
    trained = [p for p in method.parameters() if p.requires_grad]
    return list(torch.autograd.grad(loss, trained))


def test_loss_and_gradients_are_the_published_ones(batch: PairBatch) -> None:
    method = build()
    ours = method(batch, generator=generator()).loss
    theirs = published_loss(method, batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(ours, method), gradients(theirs, method), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_masked_pixels_belong_to_no_superpixel(batch: PairBatch) -> None:
    method = build()
    mask = batch.superpixels != 0
    masked = method(replace(batch, superpixel_mask=mask), generator=generator())
    assert masked.counts["superpixels"] == VIEWS * (SUPERPIXELS - 2)


def test_cached_features_give_the_same_step(batch: PairBatch) -> None:
    method = build(normalize="superpixel")
    features, count = method.teacher_features(batch)
    cached = replace(batch, images=None, teacher_features=features, teacher_count=count)
    torch.testing.assert_close(
        method(cached, generator=generator()).loss, method(batch, generator=generator()).loss
    )


def test_permuted_pairs_are_drawn_again_with_the_generator(batch: PairBatch) -> None:
    method = build(pairing="permuted")
    losses = {method(batch, generator=torch.Generator().manual_seed(s)).loss.item() for s in range(4)}
    assert len(losses) == 4
    again = method(batch, generator=torch.Generator().manual_seed(0)).loss.item()
    assert again in losses


@pytest.mark.parametrize("options", [{"unit_means": True}, {"symmetric": True}, {"normalize": "superpixel"}])
def test_each_deviation_changes_the_loss(batch: PairBatch, options: dict[str, object]) -> None:
    plain = build()(batch, generator=generator()).loss
    assert not torch.isclose(build(**options)(batch, generator=generator()).loss, plain, rtol=1e-5)


def test_no_pairs_is_a_zero_with_gradient(batch: PairBatch) -> None:
    method = build()
    empty = replace(batch, pairing_points=batch.pairing_points[:0], pairing_images=batch.pairing_images[:0])
    terms = method(empty, generator=generator(), diagnose=True)
    terms.loss.backward()
    assert terms.loss.item() == 0.0
    assert terms.num_matches == 0
    assert method(batch, generator=generator()).num_matches > 0
    assert all(p.grad is None or torch.all(p.grad == 0) for p in method.parameters())


def test_a_gradient_repeats_bit_by_bit_on_two_threads(batch: PairBatch, two_threads: None) -> None:
    draw = torch.Generator().manual_seed(2)
    pairs = 20_000  # enough for torch to share a gather's gradient out among its threads
    chosen = torch.randint(len(batch.pairing_points), (pairs,), generator=draw)
    batch = replace(
        batch,
        pairing_points=batch.pairing_points[chosen],
        pairing_images=batch.pairing_images[chosen],
    )
    method = build()

    def step() -> Tensor:
        return torch.cat([g.flatten() for g in gradients(method(batch, generator=generator()).loss, method)])

    first, *others = (step() for _ in range(6))
    assert all(torch.equal(first, other) for other in others)


def test_diagnostics_come_when_asked_for(batch: PairBatch) -> None:
    method = build()
    assert method(batch, generator=generator()).diagnostics == {}
    found = method(batch, generator=generator(), diagnose=True).diagnostics
    assert found["log_candidates"].item() == pytest.approx(math.log(VIEWS * (SUPERPIXELS - 1)))
