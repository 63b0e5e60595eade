"""Keys of PPKT."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from lidardistill.methods.config import MethodConfig


class PPKTConfig(MethodConfig):
    """PPKT (Liu et al., 2021), in the re-implementation of SLidR's authors. The defaults are theirs.

    embedding: width of the space in which points and pixels are compared.
    temperature: of InfoNCE.
    pairs: number of point-pixel pairs, drawn at random from the batch at every step; all pairs if the batch
        has fewer.
    """

    reads: ClassVar[frozenset[str]] = frozenset(
        {"teacher", "bev_term", "data.augment", "data.images", "data.visibility"}
    )
    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})
    trains: ClassVar[frozenset[str]] = frozenset({"points"})

    kind: Literal["ppkt"]
    embedding: PositiveInt = 64
    temperature: PositiveFloat = 0.07
    pairs: PositiveInt = 4096
