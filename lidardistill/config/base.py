"""The base class of every config object."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    """Base class of all config classes: frozen, refuses unknown keys.

    `true` and `false` are refused where a number is expected. A mapping without `kind` gets the default kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipes: ClassVar[str] = ""
    """Folder of `configs/` with recipes of this class, for the config of a whole run; see `find_config`."""

    @model_validator(mode="before")
    @classmethod
    def _tidy(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        tidied = dict(values)
        for name, value in values.items():
            field = cls.model_fields.get(name)
            if field is None:
                continue
            if (
                isinstance(value, bool)
                and field.annotation is not bool
                and bool not in get_args(field.annotation)
            ):
                raise ValueError(
                    f".{name}: expected a value that is not true/false, got {str(value).lower()}"
                )
            if isinstance(value, dict) and "kind" not in value and hasattr(field.default, "kind"):
                tidied[name] = {"kind": field.default.kind, **value}
        return tidied


def check_whole_cells(bev_range: tuple[float, float, float, float], cell_size: float) -> None:
    """Check that a map is a whole number of cells wide and high. For pydantic validators.

    Args:
        bev_range: x_min, y_min, x_max, y_max in metres.
        cell_size: edge of a cell in metres.

    Raises:
        ValueError: the range is empty or no multiple of the cell size.
    """
    for axis, a, b in zip("xy", bev_range[:2], bev_range[2:], strict=True):
        cells = (b - a) / cell_size
        if b <= a or abs(cells - round(cells)) > 1e-4:
            raise ValueError(
                f".bev_range along {axis}: {a} to {b} m is no whole number of {cell_size} m cells"
            )
