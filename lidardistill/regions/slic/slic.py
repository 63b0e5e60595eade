"""SLIC superpixels of one camera image, with SLidR's parameters.

`slic` is the entry point; the presets compute the same segmentation in two ways.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lidardistill.regions.slic.slic_kernels import compile_kernels, segment_image

_Segmenter = Callable[[np.ndarray, int, float, float], np.ndarray]


def slic(
    image: np.ndarray,
    num_superpixels: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
    preset: str = "exact",
) -> np.ndarray:
    """Cut an image into connected regions of similar colour.

    Args:
        image: (H, W, 3) uint8, RGB.
        num_superpixels: requested number of regions. The seeds form a regular grid, so the actual number
            differs (SLidR's 150 gives 107 to 115 on the real 900x1600 keyframe).
        compactness: weight of position against colour (Lab units); larger gives squarer regions.
        sigma: standard deviation of the Gaussian smoothing in Lab, pixels; 0 smooths nothing.
        preset: name in `PRESETS`.

    Returns:
        (H, W) int32, ids 0..n-1 without a gap. Every pixel belongs to a region; 0 is an ordinary id.

    Raises:
        ValueError: if the image is not (H, W, 3) uint8, a parameter is out of range or the preset is unknown.

    Source: SLidR (CVPR 2022), superpixel_segmenter.py: 150 / 6 / 3.0 with scikit-image 0.18.
    """
    check_slic_arguments(num_superpixels, compactness, sigma, preset)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"slic: image must be a uint8 RGB array of shape (H, W, 3), got {got}")
    if image.size == 0:
        raise ValueError(f"slic: image has no pixels, shape {image.shape}")
    return PRESETS[preset](image, num_superpixels, compactness, sigma)


def check_slic_arguments(num_superpixels: int, compactness: float, sigma: float, preset: str) -> None:
    """Raise ValueError with the name of the argument unless `slic` accepts all of them."""
    if preset not in PRESETS:
        raise ValueError(f"slic: unknown preset {preset!r}; choose one of {', '.join(sorted(PRESETS))}")
    if isinstance(num_superpixels, bool) or not isinstance(num_superpixels, (int, np.integer)):
        raise ValueError(f"slic: num_superpixels must be a whole number, got {num_superpixels!r}")
    if num_superpixels < 1:
        raise ValueError(f"slic: num_superpixels must be at least 1, got {num_superpixels}")
    if not (np.isfinite(compactness) and compactness > 0):
        raise ValueError(f"slic: compactness must be a number above 0, got {compactness}")
    if not (np.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"slic: sigma must be a number of pixels, 0 or more, got {sigma}")


def _reference(image: np.ndarray, num_superpixels: int, compactness: float, sigma: float) -> np.ndarray:
    """Compute the segmentation of scikit-image 0.18.2 with the installed scikit-image (0.22 or later).

    Since 0.19 scikit-image stretches its input to 0..1 first, so dark images get other regions than in
    SLidR's training. This function therefore passes the Lab image of image / 255: the stretch is then (lab -
    min) / range. The shift cancels in every colour difference (the seeds start at colour 0 instead of a real
    colour, an error common to all of them), and the division of the compactness by the range undoes the
    scale.
    """
    # Imported here, because importing scikit-image takes a third of a second.
    from skimage.color import rgb2lab
    from skimage.segmentation import slic as skimage_slic

    lab = rgb2lab(image.astype(np.float64) / 255.0)
    spread = float(lab.max() - lab.min())
    labels = skimage_slic(
        lab,
        n_segments=int(num_superpixels),
        compactness=compactness / (spread or 1.0),  # scikit-image does not stretch an image of one value
        sigma=sigma,
        start_label=0,
        enforce_connectivity=True,
        convert2lab=False,
        channel_axis=-1,
    )
    return np.ascontiguousarray(labels, dtype=np.int32)


PRESETS: dict[str, _Segmenter] = {"reference": _reference, "exact": segment_image}
"""Preset -> function of (image, num_superpixels, compactness, sigma) that returns int32 ids without a gap.

reference: scikit-image itself, the slow twin. exact: the same segmentation with our kernels, some 18 times
    faster. See
`lidardistill bench superpixels`.
"""


def warm_up(preset: str) -> None:
    """Compile the kernels of a preset, so that worker processes find them in numba's cache."""
    if PRESETS[preset] is not _reference:
        slic(np.zeros((4, 6, 3), np.uint8), 2, preset=preset)
        compile_kernels()
