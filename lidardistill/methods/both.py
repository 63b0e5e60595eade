"""Two methods on one student: a recipe that reads a keyframe for both, and the sum of their losses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.keyframes import Recipe
from lidardistill.engine.terms import Terms
from lidardistill.methods.base import JointSpace, Method, Report, ShownMap


@dataclass
class BothSample:
    """Two samples of one keyframe, augmented independently.

    Attributes:
        sample_token: the keyframe.
        first, second: of the recipes.
        substitutes: (sample token, reason) of keyframes that either recipe could not read.
    """

    sample_token: str
    first: Any
    second: Any
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class BothBatch(Batch):
    """Two batches of the same keyframes in the same order.

    Attributes:
        first, second: of the recipes.
    """

    first: Batch
    second: Batch


@dataclass(frozen=True)
class Both(Recipe[BothSample]):
    """Two recipes that read the same keyframe. If one of them cannot read it, both read a substitute.

    Attributes:
        first: its samples are the same as without the second.
        second: draws from the same seed as the first, independently of it.
    """

    first: Recipe[Any]
    second: Recipe[Any]

    def rows(self, source: Any, rows: np.ndarray) -> np.ndarray:
        return self.second.rows(source, self.first.rows(source, rows))

    def of_run(self, rows: np.ndarray) -> Both:
        return Both(self.first.of_run(rows), self.second.of_run(rows))

    def still(self) -> Recipe[Any]:
        """The first recipe alone, without augmentation."""
        return self.first.still()

    def warm_up(self) -> None:
        """Warm up both recipes."""
        self.first.warm_up()
        self.second.warm_up()

    def sample(self, source: Any, row: int, generator: np.random.Generator) -> BothSample:
        of_second = copy.deepcopy(generator)
        first = self.first.sample(source, row, generator)
        second = self.second.sample(source, row, of_second)
        return BothSample(first.sample_token, first, second)

    def collate(self, samples: Sequence[BothSample]) -> BothBatch:
        """Collate the samples of each recipe; raises ValueError as either recipe does."""
        first = self.first.collate([s.first for s in samples])
        second = self.second.collate([s.second for s in samples])
        substitutes = tuple(entry for s in samples for entry in s.substitutes)
        return BothBatch(
            sample_tokens=first.sample_tokens, substitutes=substitutes, first=first, second=second
        )


class Sum(Method):
    """Sum of two losses on one student, whose BatchNorm sees two batches a step.

    Args:
        method: the main method; its loss has weight 1.
        term: the second method, with the same student.
        weight: factor of the term's loss, at least 0. With 0 the term is not computed, and a step equals that
            of the method alone.
        prefix: beginning of the names of the term's losses, counts and diagnostics.

    Raises:
        ValueError: two students, or a negative weight.
    """

    def __init__(self, method: Method, term: Method, weight: float, prefix: str) -> None:
        super().__init__()
        if term.student is not method.student:
            raise ValueError("Sum: the method and the term must share one student, and there are two")
        if not weight >= 0:
            raise ValueError(f"Sum: expected a weight of at least 0, got {weight}")
        self.method = method  # first, because the student's weights take their names from it
        self.term = term
        self.weight, self.prefix = weight, prefix

    @property
    def student(self) -> nn.Module:
        """The one student."""
        return self.method.student

    @property
    def teacher(self) -> nn.Module | None:
        """The frozen network of the method, if it has one."""
        return getattr(self.method, "teacher", None)

    def forward(self, batch: BothBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """Both losses of one step; the method draws from the generator before the term."""
        terms = self.method(batch.first, generator=generator, diagnose=diagnose)
        if self.weight == 0:
            return terms
        term = self.term(batch.second, generator=generator, diagnose=diagnose)
        return Terms(
            loss=terms.loss + self.weight * term.loss,
            losses={**terms.losses, **self._prefixed(term.losses)},
            counts={**terms.counts, **self._prefixed(term.counts)},
            diagnostics={**terms.diagnostics, **self._prefixed(term.diagnostics)},
            num_matches=_added(terms.num_matches, term.num_matches),
        )

    def _prefixed(self, values: dict[str, Any]) -> dict[str, Any]:
        return {f"{self.prefix}{name}": value for name, value in values.items()}

    def describe(self, batch: BothBatch) -> list[str]:
        return [*self.method.describe(batch.first), "and", *self.term.describe(batch.second)]

    def card(self) -> dict[str, Any]:
        return self.method.card()

    def prepare(
        self,
        recipe: Both,
        source: Any,
        rows: np.ndarray,
        *,
        num_workers: int = 0,
        on_progress: Report | None = None,
        on_unreadable: Callable[[str, str], object] | None = None,
    ) -> int:
        """Prepare the method and the term; see `Method.prepare`."""
        return sum(
            part.prepare(
                part_of_recipe,
                source,
                rows,
                num_workers=num_workers,
                on_progress=on_progress,
                on_unreadable=on_unreadable,
            )
            for part, part_of_recipe in ((self.method, recipe.first), (self.term, recipe.second))
        )

    def joint_space(self, batch: Batch) -> JointSpace:
        return self.method.joint_space(batch)

    def shown_maps(self, voxels: VoxelBatch, xy: Tensor, cameras: dict[str, Any] | None) -> list[ShownMap]:
        return self.method.shown_maps(voxels, xy, cameras)


def _added(a: Any, b: Any) -> Any:
    return None if a is None and b is None else (0 if a is None else a) + (0 if b is None else b)
