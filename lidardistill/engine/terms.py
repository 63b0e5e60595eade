"""Terms: the losses and metrics of one step, which a method returns to the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """Named results of one forward pass; the engine knows no method by name.

    Attributes:
        loss: 0-d float32, the total loss.
        losses: 0-d tensors by name, detached parts of the loss.
        counts: 0-d tensors or ints by name, such as pairs and superpixels.
        diagnostics: 0-d tensors by name, such as match accuracy.
        num_matches: number of pairs, cells or points that the loss compared, a 0-d tensor or an int. 0: the
            step had no training signal. None: the loss compares no pairs.
    """

    loss: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor | int] = field(default_factory=dict)
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
    num_matches: Tensor | int | None = None
