"""Recipe and method of a run, built from its config. `bev_term` adds a second method, as a `Sum`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lidardistill.data.keyframes import Recipe
from lidardistill.methods.base import Method, Parts
from lidardistill.methods.both import Both, Sum
from lidardistill.methods.config import Run
from lidardistill.methods.kinds import method_class

_TERM_STREAM = 7  # separate random stream for the initial weights of a term's head


def recipe_of(run: Run) -> Recipe[Any]:
    """Recipe of a run: keyframes to samples and batches."""
    parts = Parts.of(run)
    recipe = method_class(run.method).recipe(run.method, parts)
    if run.bev_term is None:
        return recipe
    return Both(recipe, method_class(run.bev_term).recipe(run.bev_term, parts))


def method_of(run: Run) -> Method:
    """The method with random weights, all of which follow from the seed of the run."""
    parts = Parts.of(run)
    with _seeded(run.seed):
        method = method_class(run.method).build(run.method, parts)
    term = run.bev_term
    if term is None:
        return method
    shared = replace(parts, new_student=lambda: method.student)
    with _seeded(int(np.random.SeedSequence([run.seed, _TERM_STREAM]).generate_state(1)[0])):
        other = method_class(term).build(term, shared)
    return Sum(method, other, term.weight, term.prefix)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator for the block, and restore its state afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
