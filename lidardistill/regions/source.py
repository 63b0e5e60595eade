"""Where the superpixels of an image come from: computed at once, kept in a store, or read from mask files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lidardistill.regions.masks import find_mask_file, read_mask_file, relabel_sequential
from lidardistill.regions.run_codec import decode, encode
from lidardistill.regions.scaling import check_factor, enlarge_labels, reduce_by_area
from lidardistill.regions.slic import check_slic_arguments, slic, warm_up
from lidardistill.regions.store import SuperpixelStore, fingerprint, recipe_key


def segment(
    image: np.ndarray,
    num_superpixels: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
    preset: str = "exact",
    scale: int = 1,
) -> np.ndarray:
    """`slic`, at choice on a reduced image.

    Args:
        image: (H, W, 3) uint8, RGB.
        num_superpixels, compactness, sigma, preset: as in `slic`. `sigma` counts pixels of the full image: the
            reduced one is smoothed by sigma / scale.
        scale: whole factor by which the image is reduced first, by area averages; the labels are repeated back to
            full size. On the six real images scale 2 keeps 91 % of the boundaries within 2 pixels and takes a
            quarter to a fifth of the time.

    Returns:
        (H, W) int32, ids 0..n-1 without a gap.
    """
    check_factor(scale)
    if scale == 1:
        return slic(image, num_superpixels, compactness, sigma, preset)
    labels = slic(reduce_by_area(image, scale), num_superpixels, compactness, sigma / scale, preset)
    return enlarge_labels(labels, scale, (image.shape[0], image.shape[1]))


class SuperpixelSource:
    """Superpixels by image, wherever they come from. Instances travel to worker processes.

    Args:
        num_superpixels: how many regions are asked for in an image.
        compactness, sigma, preset, scale: see `segment`.
        store: cache to look into first and to write to: a folder, or a `SuperpixelStore` whose key stands for these
            very parameters. None computes at each call.
        mask_root: folder of region maps made elsewhere (`masks.find_mask_file`); nothing is computed then.
        mask_ignore: the value in these files that means "no region".
        max_id_bound: rows that are reserved for each view; every id stays below it. Default: twice
            `num_superpixels`, because SLIC keeps no region smaller than half of the mean one.
        write: False only reads from the store.

    Raises:
        ValueError: if a parameter is out of range, or both a store and mask files are given.
        FileNotFoundError: if there is no folder `mask_root`.
    """

    def __init__(
        self,
        num_superpixels: int = 150,
        compactness: float = 6.0,
        sigma: float = 3.0,
        preset: str = "exact",
        scale: int = 1,
        store: SuperpixelStore | Path | str | None = None,
        mask_root: Path | str | None = None,
        *,
        mask_ignore: int | None = None,
        max_id_bound: int | None = None,
        write: bool = True,
    ) -> None:
        check_slic_arguments(num_superpixels, compactness, sigma, preset)
        check_factor(scale)
        if store is not None and mask_root is not None:
            raise ValueError(
                "superpixels come from a store or from mask files: give one of store and mask_root"
            )
        if mask_root is not None and not Path(mask_root).is_dir():
            raise FileNotFoundError(f"no folder of region maps {mask_root}")
        if max_id_bound is not None and max_id_bound < 1:
            raise ValueError(f"max_id_bound must be at least 1, got {max_id_bound}")
        self.num_superpixels = num_superpixels
        self.compactness = compactness
        self.sigma = sigma
        self.preset = preset
        self.scale = scale
        self.mask_root = None if mask_root is None else Path(mask_root)
        self.mask_ignore = mask_ignore
        self.max_id_bound = 2 * num_superpixels if max_id_bound is None else max_id_bound
        self.write = write
        self.key = recipe_key(num_superpixels, compactness, sigma, preset, scale)
        self.store = SuperpixelStore(store, self.key) if isinstance(store, (str, Path)) else store

    def __call__(
        self, image: np.ndarray | Callable[[], np.ndarray], key: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Superpixels of one image.

        Args:
            image: (H, W, 3) uint8 RGB, or a function that gives it and that is called only when it is needed.
            key: the image's name: its path inside the data set. Store and mask files are looked up by it.

        Returns:
            labels: (H, W) int32, ids 0..n-1 with n <= `max_id_bound`; 0 where the mask is False.
            mask: (H, W) bool, False where the pixel belongs to no superpixel.

        Raises:
            ValueError: if there are more superpixels than rows reserved for them, or a mask file is unusable.
            FileNotFoundError: if the image has no mask file below `mask_root`.
        """
        if self.mask_root is not None:
            image_size = (image.shape[0], image.shape[1]) if isinstance(image, np.ndarray) else None
            path = find_mask_file(self.mask_root, key)
            stored, mask = read_mask_file(path, ignore=self.mask_ignore, image_size=image_size)
            labels, count = relabel_sequential(stored, mask)
        else:
            labels = self._labels(image, key)
            mask = np.ones(labels.shape, dtype=bool)
            count = int(labels.max()) + 1
        if count > self.max_id_bound:
            raise ValueError(
                f"image {key!r} has {count} superpixels, but {self.max_id_bound} rows are reserved for each view; "
                f"set max_id_bound to {count} or more, or ask for fewer superpixels"
            )
        return labels, mask

    def warm_up(self) -> None:
        """Compile the kernels that a call may need, whatever the store holds for the images at hand."""
        if self.mask_root is None:
            warm_up(self.preset)
            decode(encode(np.zeros((1, 1), np.int32)))

    def _labels(self, image: np.ndarray | Callable[[], np.ndarray], key: str) -> np.ndarray:
        made_from = fingerprint(image) if isinstance(image, np.ndarray) else None
        if self.store is not None and (labels := self.store.get(key, made_from=made_from)) is not None:
            return labels
        pixels = image if isinstance(image, np.ndarray) else image()
        labels = segment(pixels, self.num_superpixels, self.compactness, self.sigma, self.preset, self.scale)
        if self.store is not None and self.write:
            try:
                self.store.put(key, labels, made_from=fingerprint(pixels))
            except OSError as error:
                # The cache is a convenience: a full or read-only disk costs time, not the run.
                self.write = False
                warnings.warn(
                    f"superpixels are computed but no longer stored: {error}", RuntimeWarning, stacklevel=3
                )
        return labels
