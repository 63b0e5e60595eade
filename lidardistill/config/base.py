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
