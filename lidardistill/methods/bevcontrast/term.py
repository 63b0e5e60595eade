"""Any method from images to LiDAR, with BEVContrast's loss between two scans as a further term for the same student."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lidardistill.engine.terms import Terms
from lidardistill.methods.bevcontrast.method import BEVContrast
from lidardistill.methods.both import JointBatch

_METHOD = "method."  # what the names of its weights begin with


class WithBEVTerm(nn.Module):
    """A method and a term whose losses are summed. Both train one student; its BatchNorm sees two batches a step.

    Args:
        method: has a `student`, and makes `Terms` of the keyframes with images.
        term: of the same student.
        weight: of the term's loss, at least 0. With 0 the term is not computed, and a step is that of the method alone.

    Raises:
        ValueError: another student, a negative weight.

    Source: none; the term is BEVContrast (Sautier et al., 3DV 2024).
    """

    def __init__(self, method: nn.Module, term: BEVContrast, weight: float) -> None:
        super().__init__()
        if term.student is not method.student:
            raise ValueError("WithBEVTerm: the method and the term must share one student, and there are two")
        if not weight >= 0:
            raise ValueError(f"WithBEVTerm: expected a weight of at least 0, got {weight}")
        self.method = method  # first, so that the student's weights are named after it
        self.term = term
        self.weight = weight

    @property
    def student(self) -> nn.Module:
        return self.term.student

    @property
    def teacher(self) -> nn.Module | None:
        return getattr(self.method, "teacher", None)

    def forward(self, batch: JointBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """Both losses of one step.

        Args:
            batch: what the loader collated for either.
            generator: of the method first, and then of the term.
            diagnose: also compute the feature-quality metrics; those of the term begin with `bev_`.
        """
        terms = self.method(batch.images, generator=generator, diagnose=diagnose)
        if self.weight == 0:
            return terms
        term = self.term(batch.scans, generator=generator, diagnose=diagnose)
        return Terms(
            loss=terms.loss + self.weight * term.loss,
            losses={**terms.losses, **_prefixed(term.losses)},
            counts={**terms.counts, **_prefixed(term.counts)},
            diagnostics={**terms.diagnostics, **_prefixed(term.diagnostics)},
        )


def without_term(weights: dict[str, Any]) -> dict[str, Any]:
    """The weights of the method alone, under its own names, out of those of a `WithBEVTerm`; others stay as they are."""
    kept = {name.removeprefix(_METHOD): value for name, value in weights.items() if name.startswith(_METHOD)}
    return kept or weights


def _prefixed(values: dict[str, Any]) -> dict[str, Any]:
    return {f"bev_{name}": value for name, value in values.items()}
