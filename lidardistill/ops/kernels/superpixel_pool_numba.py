"""Kernels of `superpixel_pool` on the CPU: 64-channel work by coarse cell, scalar work by fine pixel.

A patch is the fine pixels between four neighbouring cells, whose corners are 00, 01 (right), 10 (below), 11.
In a patch every pixel is u = sum_k w_k f_k of the same four features, so it adds four scalars by superpixel,
not C channels. Sums are float64, whatever the features are: it costs a tenth of the time, and neighbours that
nearly cancel need it.

They do not check bounds: `superpixel_pool` has looked at shapes and ids.
"""

from __future__ import annotations

import numba
import numpy as np

CANCELLING = 1e-4
"""Share of the largest corner's |f|^2 below which |u|^2 is summed over the channels of u: from dot products
it would be a small difference of large numbers (at this share float64 has 12 digits left)."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _channels_last(image, i, row):  # type: ignore[no-untyped-def]
    """row (w, C) = image[:, i] of an image (C, h, w)."""
    for c in range(image.shape[0]):
        for x in range(image.shape[2]):
            row[x, c] = image[c, i, x]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _channels_first(row, i, image):  # type: ignore[no-untyped-def]
    """image[:, i] = row (w, C), which is zeroed."""
    for c in range(image.shape[0]):
        for x in range(image.shape[2]):
            image[c, i, x] = row[x, c]
    row[:] = 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _dots_within(image, i, own, beside):  # type: ignore[no-untyped-def]
    """Cells of row i: own = f . f, beside = 2 f . (the cell to the right), 0 for the last."""
    width = image.shape[2]
    own[:] = 0
    beside[:] = 0
    for c in range(image.shape[0]):
        for x in range(width):
            own[x] += np.float64(image[c, i, x]) * image[c, i, x]
        for x in range(width - 1):
            beside[x] += 2.0 * image[c, i, x] * image[c, i, x + 1]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _dots_between(image, i, k, straight, crossed):  # type: ignore[no-untyped-def]
    """Rows i and k: straight = f .

    (the cell below), crossed = both diagonals from a cell to the next column.
    """
    width = image.shape[2]
    straight[:] = 0
    crossed[:] = 0
    for c in range(image.shape[0]):
        for x in range(width):
            straight[x] += np.float64(image[c, i, x]) * image[c, k, x]
        for x in range(width - 1):
            crossed[x] += (
                np.float64(image[c, i, x]) * image[c, k, x + 1]
                + np.float64(image[c, k, x]) * image[c, i, x + 1]
            )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _along_x(own, crossed, lower, upper, weight, out):  # type: ignore[no-untyped-def]
    """out (W,) = (1 - t)^2 own[lower] + t^2 own[upper] + t (1 - t) crossed[lower], t the weight."""
    for x in range(out.shape[0]):
        t = weight[x]
        s = 1.0 - t
        out[x] = s * s * own[lower[x]] + t * t * own[upper[x]] + s * t * crossed[lower[x]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _invert_row(above, below, between, largest, t, shortest, out):  # type: ignore[no-untyped-def]
    """out = 1 / max(|u|, shortest) of one fine row at weight t between two coarse rows; how many need the
    long way.
    """
    s = 1.0 - t
    cancelling = 0
    for x in range(out.shape[0]):
        squared = s * s * above[x] + t * t * below[x] + 2.0 * s * t * between[x]
        cancelling += squared < CANCELLING * largest[x]
        length = np.sqrt(0.0 if squared < 0.0 else squared)  # not max(): NaN stays
        out[x] = 1.0 / (shortest if length < shortest else length)
    return cancelling


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _length_squared(top, bottom, left, right, t, s):  # type: ignore[no-untyped-def]
    """|u|^2 from the channels of u; t is the weight of the right cells, s that of the bottom ones."""
    total = 0.0
    for c in range(top.shape[1]):
        upper = (1.0 - t) * top[left, c] + t * top[right, c]
        lower = (1.0 - t) * bottom[left, c] + t * bottom[right, c]
        u = (1.0 - s) * upper + s * lower
        total += u * u
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add(weights, slot, w00, w01, w10, w11):  # type: ignore[no-untyped-def]
    """weights[slot] += the four."""
    weights[slot, 0] += w00
    weights[slot, 1] += w01
    weights[slot, 2] += w10
    weights[slot, 3] += w11


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gather(total, label, top, bottom, left, right, weights):  # type: ignore[no-untyped-def]
    """total[label] += sum_k weights[k] f_k."""
    w00, w01, w10, w11 = weights[0], weights[1], weights[2], weights[3]
    for c in range(top.shape[1]):
        total[label, c] += (
            w00 * top[left, c] + w01 * top[right, c] + w10 * bottom[left, c] + w11 * bottom[right, c]
        )


# reassoc alone lets a sum over channels use vectors; NaN and infinity keep their meaning.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _project(grad, row, top, bottom, left, right, dots):  # type: ignore[no-untyped-def]
    """dots[k] = f_k . grad[row]."""
    d00 = d01 = d10 = d11 = 0.0
    for c in range(top.shape[1]):
        g = np.float64(grad[row, c])
        d00 += top[left, c] * g
        d01 += top[right, c] * g
        d10 += bottom[left, c] * g
        d11 += bottom[right, c] * g
    dots[0], dots[1], dots[2], dots[3] = d00, d01, d10, d11


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _scatter(grad, row, weight, out, x):  # type: ignore[no-untyped-def]
    """out[x] += weight grad[row]."""
    w = out.dtype.type(weight)
    for c in range(out.shape[1]):
        out[x, c] += w * grad[row, c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _subtract(top, bottom, left, right, m00, m01, m10, m11, out, x):  # type: ignore[no-untyped-def]
    """out[x] -= sum_k m_k f_k."""
    for c in range(out.shape[1]):
        out[x, c] -= m00 * top[left, c] + m01 * top[right, c] + m10 * bottom[left, c] + m11 * bottom[right, c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def invert_lengths(  # type: ignore[no-untyped-def]
    features, row_first, row_weight, lower, upper, column_weight, shortest, inverse
):
    """inverse = 1 / max(|u|, shortest) of every fine pixel u.

    |u|^2 is a quadratic form of four features: dot products of neighbouring cells, interpolated along x, then
    along y.

    Args:
        features: (V, C, h, w).
        row_first: (h + 1,) int64, the fine rows between coarse rows i and i + 1 are first[i] .. first[i + 1]
            - 1.
        row_weight: (H,) float64 weight of the lower row's neighbour below.
        lower: (W,) int64 left cell of every fine column.
        upper: (W,) int64 right cell, the same one at the border.
        column_weight: (W,) float64 weight of the right cell.
        shortest: length below which a pixel is divided by this.
        inverse: (V, H, W), written.
    """
    views, channels, height, width = features.shape
    fine = lower.shape[0]
    own = np.empty((2, width))
    crossed = np.empty(width)
    straight = np.empty(width)
    own_fine = np.empty((2, fine))
    straight_fine = np.empty(fine)
    largest = np.empty(fine)
    top = np.empty((width, channels), features.dtype)
    bottom = np.empty((width, channels), features.dtype)
    for v in range(views):
        image = features[v]
        _dots_within(image, 0, own[0], crossed)
        _along_x(own[0], crossed, lower, upper, column_weight, own_fine[0])
        for i in range(height):
            here, after, below = i % 2, (i + 1) % 2, min(i + 1, height - 1)
            _dots_within(image, below, own[after], crossed)
            _along_x(own[after], crossed, lower, upper, column_weight, own_fine[after])
            if row_first[i] == row_first[i + 1]:
                continue
            _dots_between(image, i, below, straight, crossed)
            _along_x(straight, crossed, lower, upper, column_weight, straight_fine)
            for x in range(fine):
                a, b = lower[x], upper[x]
                largest[x] = max(max(own[here, a], own[here, b]), max(own[after, a], own[after, b]))
            loaded = False
            for y in range(row_first[i], row_first[i + 1]):
                s = row_weight[y]
                out = inverse[v, y]
                if not _invert_row(own_fine[here], own_fine[after], straight_fine, largest, s, shortest, out):
                    continue
                if not loaded:
                    _channels_last(image, i, top)
                    _channels_last(image, below, bottom)
                    loaded = True
                for x in range(fine):
                    t = column_weight[x]
                    squared = (1.0 - s) ** 2 * own_fine[here, x] + s**2 * own_fine[after, x]
                    squared += 2.0 * s * (1.0 - s) * straight_fine[x]
                    if squared < CANCELLING * largest[x]:
                        squared = _length_squared(top, bottom, lower[x], upper[x], t, s)
                        out[x] = 1.0 / max(np.sqrt(squared), shortest)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pool(  # type: ignore[no-untyped-def]
    features, superpixels, mask, row_first, row_weight, column_first, column_weight, inverse, pooled, count
):
    """Mean by superpixel of the bilinear pixels u, each times its inverse length.

    Args:
        features: (V, C, h, w).
        superpixels: (V, H, W) int32 in 0..S-1 where the mask is True.
        mask: (V, H, W) bool, or no views: every pixel counts.
        row_first: (h + 1,) int64 as in `invert_lengths`.
        row_weight: (H,) float64.
        column_first: (w + 1,) int64, the same for columns.
        column_weight: (W,) float64.
        inverse: (V, H, W), or no views: every pixel counts as it is.
        pooled: (V, S, C), written; zero where a superpixel has no pixel.
        count: (V, S) float32, written.
    """
    views, channels, height, width = features.shape
    labels = pooled.shape[1]
    rows = np.empty((2, width, channels), features.dtype)
    total = np.empty((labels, channels))
    pixels = np.empty(labels, np.int64)
    slot_of = np.full(labels, -1, np.int64)
    most = min(labels, np.max(np.diff(row_first)) * np.max(np.diff(column_first)))
    used = np.empty(most, np.int64)
    weights = np.empty((most, 4))
    for v in range(views):
        total[:] = 0
        pixels[:] = 0
        _channels_last(features[v], 0, rows[0])
        for i in range(height):
            top, bottom = rows[i % 2], rows[(i + 1) % 2]
            _channels_last(features[v], min(i + 1, height - 1), bottom)
            for left in range(width):
                right = min(left + 1, width - 1)
                found = 0
                slot = label = -1
                w00 = w01 = w10 = w11 = 0.0
                number = 0
                for y in range(row_first[i], row_first[i + 1]):
                    s = row_weight[y]
                    for x in range(column_first[left], column_first[left + 1]):
                        if mask.shape[0] and not mask[v, y, x]:
                            continue
                        if superpixels[v, y, x] != label:
                            if slot >= 0:
                                _add(weights, slot, w00, w01, w10, w11)
                                pixels[label] += number
                                w00 = w01 = w10 = w11 = 0.0
                                number = 0
                            label = superpixels[v, y, x]
                            slot = slot_of[label]
                            if slot < 0:
                                slot = slot_of[label] = found
                                used[slot] = label
                                weights[slot] = 0
                                found += 1
                        number += 1
                        r = np.float64(inverse[v, y, x]) if inverse.shape[0] else 1.0
                        on_right = r * column_weight[x]
                        on_left = r - on_right
                        w10 += s * on_left
                        w11 += s * on_right
                        w00 += on_left - s * on_left
                        w01 += on_right - s * on_right
                if slot >= 0:
                    _add(weights, slot, w00, w01, w10, w11)
                    pixels[label] += number
                for slot in range(found):
                    _gather(total, used[slot], top, bottom, left, right, weights[slot])
                    slot_of[used[slot]] = -1
        for label in range(labels):
            count[v, label] = pixels[label]
            for c in range(channels):
                pooled[v, label, c] = total[label, c] / max(pixels[label], 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pool_backward(  # type: ignore[no-untyped-def]
    features, superpixels, mask, row_first, row_weight, column_first, column_weight, inverse, longest, grad,
    grad_features,
):  # fmt: skip
    """Gradient of `pool` with respect to the features, through the lengths as well.

    With r = 1 / |u| and G a superpixel's gradient, u receives r G - a u where a = r^3 (u . G); so a cell k
    receives sum_p w_k r G - sum_m (sum_p w_k w_m a) f_m. Both sums over pixels are scalars, u . G = sum_k w_k
    (f_k . G) too.

    Args:
        features: as in `pool`, like the others down to inverse.
        superpixels: as there.
        mask: as there.
        row_first: as there.
        row_weight: as there.
        column_first: as there.
        column_weight: as there.
        inverse: as there.
        longest: an inverse length from which on it is a constant, not a function of u.
        grad: (V * S, C) gradient of the means, divided by the number of pixels.
        grad_features: (V, C, h, w), written.
    """
    views, channels, height, width = features.shape
    labels = grad.shape[0] // views
    rows = np.empty((2, width, channels), features.dtype)
    grads = np.zeros((2, width, channels), features.dtype)
    slot_of = np.full(labels, -1, np.int64)
    most = min(labels, np.max(np.diff(row_first)) * np.max(np.diff(column_first)))
    used = np.empty(most, np.int64)
    weights = np.empty((most, 4))
    dots = np.empty((most, 4))
    for v in range(views):
        first = v * labels
        _channels_last(features[v], 0, rows[0])
        for i in range(height):
            top, bottom = rows[i % 2], rows[(i + 1) % 2]
            grad_top, grad_bottom = grads[i % 2], grads[(i + 1) % 2]
            _channels_last(features[v], min(i + 1, height - 1), bottom)
            for left in range(width):
                right = min(left + 1, width - 1)
                found = 0
                slot = label = -1
                w00 = w01 = w10 = w11 = 0.0
                d00 = d01 = d10 = d11 = 0.0
                # Sums of a: y (top, both, bottom) by x (left, both, right).
                tl = tb = tr = bl = bb = br = ll = lb = lr = 0.0
                for y in range(row_first[i], row_first[i + 1]):
                    s = row_weight[y]
                    on_lefts = on_boths = on_rights = 0.0
                    for x in range(column_first[left], column_first[left + 1]):
                        if mask.shape[0] and not mask[v, y, x]:
                            continue
                        if superpixels[v, y, x] != label:
                            if slot >= 0:
                                _add(weights, slot, w00, w01, w10, w11)
                                w00 = w01 = w10 = w11 = 0.0
                            label = superpixels[v, y, x]
                            slot = slot_of[label]
                            if slot < 0:
                                slot = slot_of[label] = found
                                used[slot] = label
                                weights[slot] = 0
                                if inverse.shape[0]:
                                    _project(grad, first + label, top, bottom, left, right, dots[slot])
                                found += 1
                            d00, d01 = dots[slot, 0], dots[slot, 1]
                            d10, d11 = dots[slot, 2], dots[slot, 3]
                        r = np.float64(inverse[v, y, x]) if inverse.shape[0] else 1.0
                        t = column_weight[x]
                        on_right = r * t
                        on_left = r - on_right
                        w10 += s * on_left
                        w11 += s * on_right
                        w00 += on_left - s * on_left
                        w01 += on_right - s * on_right
                        if inverse.shape[0] and r < longest:
                            upper = d00 + t * (d01 - d00)
                            lower = d10 + t * (d11 - d10)
                            a = r * r * r * (upper + s * (lower - upper))
                            at = a * t
                            att = at * t
                            on_rights += att
                            on_boths += at - att
                            on_lefts += a - 2.0 * at + att
                    p, q, b = (1.0 - s) * (1.0 - s), s * s, s * (1.0 - s)
                    tl, tb, tr = tl + p * on_lefts, tb + p * on_boths, tr + p * on_rights
                    bl, bb, br = bl + b * on_lefts, bb + b * on_boths, br + b * on_rights
                    ll, lb, lr = ll + q * on_lefts, lb + q * on_boths, lr + q * on_rights
                if slot >= 0:
                    _add(weights, slot, w00, w01, w10, w11)
                for slot in range(found):
                    row = first + used[slot]
                    _scatter(grad, row, weights[slot, 0], grad_top, left)
                    _scatter(grad, row, weights[slot, 1], grad_top, right)
                    _scatter(grad, row, weights[slot, 2], grad_bottom, left)
                    _scatter(grad, row, weights[slot, 3], grad_bottom, right)
                    slot_of[used[slot]] = -1
                if found and inverse.shape[0]:
                    _subtract(top, bottom, left, right, tl, tb, bl, bb, grad_top, left)
                    _subtract(top, bottom, left, right, tb, tr, bb, br, grad_top, right)
                    _subtract(top, bottom, left, right, bl, bb, ll, lb, grad_bottom, left)
                    _subtract(top, bottom, left, right, bb, br, lb, lr, grad_bottom, right)
            _channels_first(grad_top, i, grad_features[v])
        # Below the last row there is none: what went there has weight 0.
        grads[:] = 0
