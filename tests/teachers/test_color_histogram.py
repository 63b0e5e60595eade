"""The training-free teacher, against counting by hand."""

from __future__ import annotations

import math

import torch

from lidardistill.teachers.color_histogram import ColorHistogram


def test_a_cell_holds_the_roots_of_its_color_frequencies():
    image = torch.zeros(1, 3, 8, 16)
    image[0, 0, :, :4] = 1.0  # half of the left cell is red, the rest black
    image[0, :, :, 8:] = torch.tensor([0.3, 0.6, 0.9]).view(3, 1, 1)
    colors = ColorHistogram()(image)[0, :64]
    red, black, mixed = 3 * 16, 0, 1 * 16 + 2 * 4 + 3
    expected = torch.zeros(64, 1, 2)
    expected[red, 0, 0] = expected[black, 0, 0] = math.sqrt(0.5)
    expected[mixed, 0, 1] = 1.0
    torch.testing.assert_close(colors, expected)


def test_edges_fall_into_their_orientation():
    """A vertical step changes along x (orientation 0), a horizontal one along y (orientation 4 of 8)."""
    upright, level = torch.zeros(2, 1, 3, 8, 8)
    upright[..., 4:] = 0.8
    level[..., :4, :] = 0.8
    maps = ColorHistogram()(torch.cat([upright, level]))[:, 64:, 0, 0]
    expected = torch.zeros(2, 8)
    expected[0, 0] = expected[1, 4] = 0.8 * 16 / 64  # two columns of eight pixels see the step
    torch.testing.assert_close(maps, expected)


def test_an_odd_border_counts_only_its_own_pixels():
    net = ColorHistogram()
    maps = net(torch.rand(2, 3, 20, 27))
    assert maps.shape == (2, net.out_channels, 3, 4)
    assert net.out_channels == 72
    torch.testing.assert_close(maps[:, :64].square().sum(1), torch.ones(2, 3, 4))


def test_views_do_not_mix():
    images = torch.rand(3, 3, 16, 24)
    net = ColorHistogram()
    torch.testing.assert_close(net(images), torch.cat([net(image[None]) for image in images]))
