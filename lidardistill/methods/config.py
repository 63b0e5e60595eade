"""Base of the config of every method: its keys, and the keys of the run that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from pydantic import NonNegativeFloat

from lidardistill.config.base import Strict
from lidardistill.data.config import VoxelConfig
from lidardistill.datasets.config import PairDataConfig

if TYPE_CHECKING:
    from lidardistill.backbones.kinds import StudentConfig
    from lidardistill.teachers.kinds import TeacherConfig


class MethodConfig(Strict):
    """Keys of a method. The class says which shared keys of the run the method reads; the run refuses all
    others.

    A subclass stands in `methods/<name>/config.py` and in the union of `methods/kinds.py`.

    Attributes:
        reads: dotted keys of the run out of teacher, teacher_cache, bev_term, data.superpixels, data.augment,
            data.images, data.visibility. A key that is not in `reads` must keep its default.
        needs: keys in `reads` that must not be null.
        trains: required output of the backbone: points (features of voxels or points) or map (a
            bird's-eye-view map).
        key: key of this config in the run; the first word of its error messages.

    pairing: real; or the control `permuted`, which draws the partners anew at every step.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    trains: ClassVar[frozenset[str]] = frozenset()
    key: ClassVar[str] = "method"

    kind: str
    pairing: Literal["real", "permuted"] = "real"

    @property
    def sees_cameras(self) -> bool:
        """True if the method reads images."""
        return "data.images" in self.reads

    def check(self, run: Run) -> None:
        """Raise ValueError, with a message that begins with the key, if the rest of the run does not suit the
        method."""


class TermConfig(MethodConfig):
    """A second method beside the main one, on the same student.

    Attributes:
        prefix: beginning of the names of this method's losses.

    weight: factor of this loss; the other method's loss has 1. With 0 the loss is not computed.
    """

    prefix: ClassVar[str]

    weight: NonNegativeFloat = 0.5


class Run(Protocol):
    """The keys of a pretraining run that a method may read; `tasks.pretrain.config.PretrainConfig` has
    them."""

    @property
    def seed(self) -> int: ...
    @property
    def data(self) -> PairDataConfig: ...
    @property
    def voxels(self) -> VoxelConfig: ...
    @property
    def student(self) -> StudentConfig: ...
    @property
    def teacher(self) -> TeacherConfig | None: ...
    @property
    def teacher_cache(self) -> str | None: ...
    @property
    def method(self) -> MethodConfig: ...
    @property
    def bev_term(self) -> TermConfig | None: ...
