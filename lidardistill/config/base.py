"""The one base class of every config object."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    """Frozen, without unknown keys; booleans are no numbers; a mapping without `kind` means the default kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    """Refuse x_min y_min x_max y_max, metres, between which no whole number of cells lies; for a validator to call."""
    for axis, a, b in zip("xy", bev_range[:2], bev_range[2:], strict=True):
        cells = (b - a) / cell_size
        if b <= a or abs(cells - round(cells)) > 1e-4:
            raise ValueError(
                f".bev_range along {axis}: {a} to {b} m is no whole number of {cell_size} m cells"
            )
