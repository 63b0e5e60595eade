"""Region maps of other programs: segment-anything masks, SLidR's PNGs, your own arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidardistill.corrupt import CorruptSample
from lidardistill.regions.superpixels._relabel_numba import relabel

SUFFIXES = (".png", ".npy", ".npz")
_MAP_KINDS = {"numpy", "L", "P", "I;16", "I;16B", "I"}


def read_mask_file(
    path: Path | str,
    *,
    ignore: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read one region map.

    Args:
        path: `.npy` (H, W) integers; `.npz` with `labels` (or one single array) and an optional `mask` (H, W)
            bool; or `.png` of 8 or 16 bits, grey or palette (the palette's indices are the ids).
        ignore: the value that means "no region" in this file, such as 255, or 0 if the writer used 0 as void.
            With None every pixel is valid and 0 is an ordinary id.
        image_size: (H, W) pixels that the map must have; None accepts any.

    Returns:
        labels: (H, W) int32, ids as stored, 0 where the mask is False.
        mask: (H, W) bool, False where the pixel belongs to no region.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptSample: the file cannot be read, is no map of integers, has negative ids that are not ignored,
            or another size than the image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no region map {path}")
    stored, mask = _read_arrays(path)
    if stored.ndim != 2 or stored.dtype.kind not in "iu":
        raise CorruptSample(
            f"region map {path}: expected integer ids of shape (H, W), got {stored.dtype} {stored.shape}; "
            "write one channel of ids (a coloured picture of regions is not a map)"
        )
    if mask is None:
        mask = np.ones(stored.shape, dtype=bool)
    if mask.dtype != np.bool_ or mask.shape != stored.shape:
        raise CorruptSample(
            f"region map {path}: mask must be bool {stored.shape}, got {mask.dtype} {mask.shape}"
        )
    if image_size is not None and stored.shape != tuple(image_size):
        raise CorruptSample(
            f"region map {path}: its image has {tuple(image_size)} pixels (H, W), the map {stored.shape}; "
            "write the map at the size of the image"
        )
    if ignore is not None:
        mask = mask & (stored != ignore)
    labels = np.where(mask, stored, 0)
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise CorruptSample(
            f"region map {path}: ids must lie in 0..{np.iinfo(np.int32).max}, got "
            f"{labels.min()}..{labels.max()}; write it as .npz with labels, and a bool mask that is False "
            "where a pixel has no region"
        )
    return labels.astype(np.int32), mask


def relabel_sequential(
    labels: np.ndarray, mask: np.ndarray | None = None, *, implementation: str = "numba"
) -> tuple[np.ndarray, int]:
    """Renumber the ids of a map 0..n-1 in their order, without a gap.

    Args:
        labels: (H, W) int32.
        mask: (H, W) bool; pixels outside it do not count and get 0. None: all pixels.
        implementation: "numba", or "numpy" for the slow twin.

    Returns:
        (H, W) int32, and n, the number of ids.

    Raises:
        ValueError: an array has another shape or dtype.
    """
    mask = np.ones(labels.shape, dtype=bool) if mask is None else mask
    if labels.ndim != 2 or labels.dtype != np.int32 or mask.shape != labels.shape or mask.dtype != np.bool_:
        raise ValueError(
            "relabel_sequential: expected labels (H, W) int32 and a bool mask of the same shape, "
            f"got {labels.dtype} {labels.shape} and {mask.dtype} {mask.shape}"
        )
    if not mask.any():
        return np.zeros(labels.shape, dtype=np.int32), 0
    low = int(labels.min(where=mask, initial=np.iinfo(np.int32).max))
    size = int(labels.max(where=mask, initial=np.iinfo(np.int32).min)) - low + 1
    # A table is much faster than a sort unless it is larger than the map.
    if implementation == "numba" and size <= max(labels.size, 1 << 16):
        out = np.empty(labels.size, dtype=np.int32)
        flat = np.ascontiguousarray(labels).reshape(-1)
        count = relabel(flat, np.ascontiguousarray(mask).reshape(-1), low, size, out)
        return out.reshape(labels.shape), int(count)
    out = np.zeros(labels.shape, dtype=np.int32)
    ids, inverse = np.unique(labels[mask], return_inverse=True)
    out[mask] = inverse.reshape(-1)
    return out, len(ids)


def find_mask_file(root: Path | str, image_key: str) -> Path:
    """Return the path of the region map of an image below `root`.

    Args:
        root: folder of region maps.
        image_key: the image's path, such as `samples/CAM_FRONT/x.jpg`. Its map may lie at
            `root/samples/CAM_FRONT/x`, `root/CAM_FRONT/x` or `root/x`, with any of `SUFFIXES`; the first that
            exists is taken.

    Raises:
        FileNotFoundError: there is no map; the message lists the places.
        ValueError: the key leads outside `root`.
    """
    key = Path(image_key)
    if ".." in key.parts or not key.name:
        raise ValueError(f"image key {image_key!r} names no place below the folder of region maps {root}")
    # Remove only suffixes of images: the part after a dot in a bare token must stay.
    stem = key.with_suffix("") if key.suffix.lower() in {".jpg", ".jpeg", ".png"} else key
    parts = [part for part in stem.parts if part != stem.anchor]
    tails = dict.fromkeys(Path(*parts[-depth:]) for depth in (3, 2, 1))
    places = [Path(root) / tail.with_name(tail.name + suffix) for tail in tails for suffix in SUFFIXES]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"no region map for image {image_key!r}; looked for {', '.join(map(str, places))}"
    )


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorruptSample(
            f"region map {path}: unknown kind {suffix!r}; expected one of {', '.join(SUFFIXES)}"
        )
    try:
        arrays, kind = _read_png(path) if suffix == ".png" else (_read_numpy(path), "numpy")
    except FileNotFoundError:
        raise
    # Decoders raise errors of many classes; all of them mean that this file is damaged.
    except Exception as error:
        raise CorruptSample(
            f"region map {path} cannot be read ({str(error) or type(error).__name__}); is it truncated? "
            "Write it again"
        ) from error
    if kind not in _MAP_KINDS:
        raise CorruptSample(
            f"region map {path}: expected a PNG with one channel of 8 or 16 bits, got {kind}; "
            "a coloured picture of regions is not a map"
        )
    others = [name for name in arrays if name != "mask"]
    name = "labels" if "labels" in arrays else others[0] if len(others) == 1 else None
    if name is None:
        raise CorruptSample(
            f"region map {path}: expected an array named labels (and perhaps mask), got {list(arrays)}"
        )
    return arrays[name], arrays.get("mask")


def _read_numpy(path: Path) -> dict[str, np.ndarray]:
    # allow_pickle stays off: a pickle can run code.
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"labels": loaded}
    with loaded:
        return {name: loaded[name] for name in loaded.files}


def _read_png(path: Path) -> tuple[dict[str, np.ndarray], str]:
    from PIL import Image

    with Image.open(path) as picture:
        picture.verify()  # checks every chunk's check sum; decoding does not
    with Image.open(path) as picture:
        bits = _png_bits(path)
        # Pillow stretches grey of fewer than 8 bits to 0..255, which changes the ids; it keeps palette
        # indices.
        kind = f"mode {picture.mode}, {bits} bits" if picture.mode == "L" and bits < 8 else picture.mode
        return {"labels": np.asarray(picture)}, kind


def _png_bits(path: Path) -> int:
    with open(path, "rb") as file:
        return file.read(25)[24]  # 8 bytes of signature, 8 of chunk header, width, height, then the depth
