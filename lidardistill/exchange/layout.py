"""State dicts under other names, and sparse convolution weights in other memory layouts.

Our convolution weights have the layout of spconv 2, (out, z, y, x, in). mmcv's own sparse convolutions, and
spconv 1, use (z, y, x, in, out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

Layout = Literal["mmcv", "spconv2"]
Kernel = tuple[int, int, int]


def renamed(
    state: Mapping[str, Tensor], modules: Mapping[str, str], prefixes: Mapping[str, str], owner: str
) -> dict[str, Tensor]:
    """Rename every tensor.

    Args:
        state: tensors by name.
        modules: module name to its other name.
        prefixes: beginning of a name to its other beginning; what follows stays.
        owner: whose state dict is expected, for the message.

    Raises:
        ValueError: a name that has no counterpart.
    """
    found = {}
    for key, value in state.items():
        target = other_name(key, modules, prefixes)
        if target is None:
            raise ValueError(f"{key} has no counterpart: expected the state dict of a {owner}")
        found[target] = value
    return found


def known(
    state: Mapping[str, Tensor],
    modules: Mapping[str, str],
    prefixes: Mapping[str, str],
    own: tuple[str, ...] = (),
) -> dict[str, tuple[str, Tensor]]:
    """Tensors with a counterpart: their other name to (old name, tensor).

    Args:
        state: tensors by name.
        modules, prefixes: see `renamed`.
        own: beginnings of the names of the network itself. Tensors beside the network are left out.

    Raises:
        ValueError: a tensor of the network that has no other name.
    """
    targets = {key: other_name(key, modules, prefixes) for key in state}
    strange = (
        [key for key, target in targets.items() if target is None and key.startswith(own)] if own else []
    )
    if strange:
        raise ValueError(
            f"{len(strange)} tensors have no counterpart here, such as {strange[0]}: the network is deeper "
            f"or of another kind than those that can be read"
        )
    return {target: (key, state[key]) for key, target in targets.items() if target is not None}


def other_name(key: str, modules: Mapping[str, str], prefixes: Mapping[str, str]) -> str | None:
    """The other name of one tensor, or None where it has none."""
    for prefix, other in prefixes.items():
        if key.startswith(prefix):
            return other + key.removeprefix(prefix)
    module, _, name = key.rpartition(".")
    return f"{modules[module]}.{name}" if module in modules else None


def to_layout(weight: Tensor, layout: Layout) -> Tensor:
    """(out, z, y, x, in) to `layout`."""
    return weight if layout == "spconv2" else weight.permute(1, 2, 3, 4, 0).contiguous()


def layouts_that_fit(weight: Tensor, kernel: Kernel) -> list[Layout]:
    """The layouts in which a weight of five dimensions has this kernel."""
    shape = tuple(weight.shape)
    fits: list[Layout] = []
    if shape[1:4] == kernel:
        fits.append("spconv2")
    if shape[:3] == kernel:
        fits.append("mmcv")
    return fits


def from_layout(key: str, weight: Tensor, kernel: Kernel, layout: Layout | None) -> Tensor:
    """Any layout to (out, z, y, x, in).

    Args:
        key: its name, for the message.
        weight: of five dimensions.
        kernel: cells along the three axes, as they lie in `weight`.
        layout: of the weight; None infers it from the shape.

    Raises:
        ValueError: a shape without such a kernel, or with an ambiguous layout.
    """
    fits, shape = layouts_that_fit(weight, kernel), tuple(weight.shape)
    if layout is None:
        if len(fits) != 1:
            raise ValueError(
                f"{key}: shape {shape} could be {' or '.join(fits) or 'neither layout'} of a kernel "
                f"{kernel}; say which"
            )
        layout = fits[0]
    if layout not in fits:
        raise ValueError(f"{key}: shape {shape} is no {layout} layout of a kernel {kernel}")
    return weight if layout == "spconv2" else weight.permute(4, 0, 1, 2, 3).contiguous()


def reverse_axes(weight: Tensor) -> Tensor:
    """A kernel over (z, y, x) as one over (x, y, z), or over (y, x) as one over (x, y); its own inverse.

    Args:
        weight: (out, z, y, x, in) sparse or (a, b, y, x) dense; others come back as they are.
    """
    if weight.ndim == 5:
        return weight.permute(0, 3, 2, 1, 4).contiguous()
    return weight.transpose(2, 3).contiguous() if weight.ndim == 4 else weight
