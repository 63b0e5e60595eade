"""Messages name existing keys: each dotted key in a string of the package belongs to a verb's config."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

PACKAGE = Path(__file__).resolve().parents[2] / "lidardistill"


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Return the config classes inside an annotation, also in unions and nested types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for section in models_in(field.annotation):
            for key in keys_of(section):
                yield f"{name}.{key}"


def verbs() -> Iterator[type[BaseModel]]:
    """Return the configs of all verbs: classes with a name and a section for data."""
    for path in sorted((PACKAGE / "tasks").rglob("config.py")):
        module = importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, BaseModel)
                and {"name", "data"} <= set(value.model_fields)
            ):
                yield value


KEYS = {key for verb in verbs() for key in keys_of(verb)}
SECTIONS = sorted({key.split(".")[0] for key in KEYS if "." in key})
DOTTED = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})(?:\.[a-z_][a-z_0-9]*)+(?![\w/(]|\.\w)")


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Return the string literals except docstrings; f-strings as one text, with {} for their values."""
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))  # a docstring, or the description of a constant
        if isinstance(node, ast.JoinedStr):
            skipped.update(map(id, node.values))
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_messages_advise_keys_that_exist(path: Path) -> None:
    for line, text in messages(path):
        for key in DOTTED.findall(text) if " " in text else ():  # one word is a file name, or part of one
            assert key in KEYS, (
                f"{path.relative_to(PACKAGE)}:{line} names {key}, which is no key of any config: {text}"
            )


def test_the_rule_finds_a_key_that_does_not_exist() -> None:
    assert {"data.superpixels.num_superpixels", "trainer.max_steps", "data.num_workers"} <= KEYS
    assert DOTTED.findall(
        "set data.superpixels.max_id_bound, or data.num_workers=0. See lidardistill.data.loader"
    ) == [
        "data.superpixels.max_id_bound",
        "data.num_workers",
    ]
