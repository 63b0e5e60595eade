"""Sources of superpixels: computed on demand, cached in a store, or read from mask files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from lidardistill.regions.slic.slic import check_slic_arguments, slic, warm_up
from lidardistill.regions.superpixels.config import SuperpixelConfig
from lidardistill.regions.superpixels.masks import find_mask_file, read_mask_file, relabel_sequential
from lidardistill.regions.superpixels.run_codec import decode, decode_at, encode
from lidardistill.regions.superpixels.scaling import (
    check_factor,
    enlarge_labels,
    reduce_by_area,
    scale_places,
    warm_up_scaling,
)
from lidardistill.regions.superpixels.store import SuperpixelStore, fingerprint, recipe_key
from lidardistill.spans import spanned


def segment(
    image: np.ndarray,
    num_superpixels: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
    preset: str = "exact",
    scale: int = 1,
) -> np.ndarray:
    """Run `slic`, optionally on a reduced image.

    Args:
        image: (H, W, 3) uint8, RGB.
        num_superpixels, compactness, sigma, preset: as in `slic`. `sigma` counts pixels of the full image:
            the reduced one is smoothed by sigma / scale.
        scale: whole factor of the reduction by area averages before SLIC; the labels are enlarged to full
            size. On the six real images scale 2 keeps 91 % of the boundaries within 2 pixels and takes a
            quarter to a fifth of the time.

    Returns:
        (H, W) int32, ids 0..n-1 without a gap.
    """
    check_factor(scale)
    if scale == 1:
        return slic(image, num_superpixels, compactness, sigma, preset)
    labels = slic(reduce_by_area(image, scale), num_superpixels, compactness, sigma / scale, preset)
    return enlarge_labels(labels, scale, (image.shape[0], image.shape[1]))


class LazyImage(Protocol):
    """An image that is decoded on demand; `size` is its height and width in pixels."""

    size: tuple[int, int]

    def __call__(self) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB."""
        ...

    def reduced(self, scale: int) -> np.ndarray | None:
        """Return (ceil(H / scale), ceil(W / scale), 3) uint8 if cheaper than the whole image, or None."""
        ...

    def fingerprint(self) -> int | None:
        """Return `store.fingerprint` of the whole image if it costs less than decoding, or None."""
        ...


class SuperpixelSource:
    """Superpixels by image, from any source. Instances are picklable.

    Args:
        num_superpixels: requested number of regions of an image.
        compactness, sigma, preset, scale: see `segment`.
        store: cache that is read first and then written: a folder, or a `SuperpixelStore` whose key belongs
            to these parameters. None computes at each call.
        mask_root: folder of region maps of other programs (`masks.find_mask_file`); nothing is computed then.
        mask_ignore: value that means "no region" in these files.
        max_id_bound: reserved rows for each view; every id stays below it. Default: twice `num_superpixels`,
            because SLIC keeps no region smaller than half of the mean one.
        write: False only reads from the store.

    Raises:
        ValueError: a parameter is out of range, or both `store` and `mask_root` are given.
        FileNotFoundError: there is no folder `mask_root`.
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

    @classmethod
    def of(cls, config: SuperpixelConfig) -> SuperpixelSource:
        """Build the source of a config."""
        return cls(
            config.num_superpixels,
            config.compactness,
            config.sigma,
            config.preset,
            config.scale,
            store=config.cache,
            mask_root=config.masks,
        )

    @spanned("superpixels")
    def __call__(
        self, image: np.ndarray | Callable[[], np.ndarray], key: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the superpixels of one image.

        Args:
            image: (H, W, 3) uint8 RGB, or a function that returns it; the function is called only if needed.
            key: path of the image inside the data set; it identifies the image in store and mask files.

        Returns:
            labels: (H, W) int32, ids 0..n-1 with n <= `max_id_bound`; 0 where the mask is False.
            mask: (H, W) bool, False where the pixel belongs to no superpixel.

        Raises:
            ValueError: there are more superpixels than reserved rows, or a mask file is unusable.
            FileNotFoundError: the image has no mask file below `mask_root`.
        """
        if self.mask_root is not None:
            image_size = (image.shape[0], image.shape[1]) if isinstance(image, np.ndarray) else None
            return self._from_mask_file(self.mask_root, key, image_size)
        labels = self._labels(image, key)
        self._check_count(int(labels.max()) + 1, key)
        return labels, np.ones(labels.shape, dtype=bool)

    def warm_up(self) -> None:
        """Compile a worker's kernels: segmentation, scaling, and the store's codec in both directions."""
        if self.mask_root is not None:
            return
        warm_up(self.preset)
        if self.scale > 1:
            warm_up_scaling()
        if self.store is not None:
            data, places = encode(np.zeros((8, 8), np.int32)), np.arange(8)
            decode(data)
            decode_at(data, places, places, out=np.empty((8, 8), np.int32))

    @spanned("superpixels")
    def at(
        self, image: LazyImage, key: str, rows: np.ndarray, cols: np.ndarray, *, out: np.ndarray
    ) -> np.ndarray | None:
        """Return the superpixels of one image at the crossings of some rows and columns.

        The slow twin is a call of the source, indexed. Differs from it in: without a store, an image that
        already exists reduced by exactly `scale` is segmented directly.

        Args:
            image: the image.
            key: as in a call.
            rows: (R,) int64 rows of the image, ascending.
            cols: (C,) int64 columns of the image, ascending or descending.
            out: (R, C) int32 to write the ids into. Ids from a store are not compared with `max_id_bound`.

        Returns:
            (R, C) bool mask, or None if all pixels belong to a superpixel.

        Raises:
            ValueError, FileNotFoundError: as in a call.
        """
        if self.mask_root is not None:
            labels, mask = self._from_mask_file(self.mask_root, key, image.size)
            crossings = _crossings(rows, cols, image.size, labels)
            out[:] = labels[crossings]
            return mask[crossings]
        if self.store is not None:
            made_from = image.fingerprint()
            if self.store.get_at(key, image.size, rows, cols, out=out, made_from=made_from) is not None:
                return None
        reduced = image.reduced(self.scale) if self.store is None and self.scale > 1 else None
        if reduced is None:
            labels = self._compute(image(), key)
            out[:] = labels[_crossings(rows, cols, image.size, labels)]
        else:
            sigma = self.sigma / self.scale
            labels = slic(reduced, self.num_superpixels, self.compactness, sigma, self.preset)
            out[:] = labels[(rows // self.scale)[:, None], (cols // self.scale)[None, :]]
        self._check_count(int(labels.max()) + 1, key)
        return None

    def _from_mask_file(
        self, root: Path, key: str, image_size: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        stored, mask = read_mask_file(
            find_mask_file(root, key), ignore=self.mask_ignore, image_size=image_size
        )
        labels, count = relabel_sequential(stored, mask)
        self._check_count(count, key)
        return labels, mask

    def _check_count(self, count: int, key: str) -> None:
        if count > self.max_id_bound:
            raise ValueError(
                f"image {key!r} has {count} superpixels, but {self.max_id_bound} rows are reserved for each "
                f"view: twice data.superpixels.num_superpixels. Set that to {-(-count // 2)} or more"
            )

    def _labels(self, image: np.ndarray | Callable[[], np.ndarray], key: str) -> np.ndarray:
        made_from = fingerprint(image) if isinstance(image, np.ndarray) else None
        if self.store is not None and (labels := self.store.get(key, made_from=made_from)) is not None:
            return labels
        return self._compute(image if isinstance(image, np.ndarray) else image(), key)

    def _compute(self, pixels: np.ndarray, key: str) -> np.ndarray:
        labels = segment(pixels, self.num_superpixels, self.compactness, self.sigma, self.preset, self.scale)
        if self.store is not None and self.write:
            try:
                self.store.put(key, labels, made_from=fingerprint(pixels))
            except OSError as error:
                # The cache is optional: a full or read-only disk costs time, but does not end the run.
                self.write = False
                warnings.warn(
                    f"superpixels are computed but no longer stored: {error}", RuntimeWarning, stacklevel=4
                )
        return labels


def _crossings(
    rows: np.ndarray, cols: np.ndarray, image_size: tuple[int, int], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = scale_places(rows, cols, image_size, (labels.shape[0], labels.shape[1]))
    return rows[:, None], cols[None, :]
