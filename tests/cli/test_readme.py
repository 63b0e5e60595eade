"""Commands in the README exist: the command line's parser accepts verbs, options and config files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from lidardistill.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[str]:
    """The `lidardistill ...` lines of all code blocks, continued lines joined."""
    path = ROOT / document
    blocks = FENCE.findall(path.read_text()) if path.is_file() else []
    joined = "\n".join(text.replace("\\\n", " ") for _, text in blocks)
    lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
    return [line for line in lines if re.match(r"lidardistill [a-z]+ ", line)]


COMMANDS = [
    (document, line) for document in ("README.md", "datasets/README.md") for line in commands(document)
]


def parse(line: str) -> list[str]:
    """Parse without running; returns the words of the command."""
    words = shlex.split(line, comments=True)[1:]
    group = typer.main.get_command(app)
    verb = group.commands[words[0]]  # type: ignore[attr-defined]
    verb.make_context(words[0], words[1:], resilient_parsing=False)
    return words


@pytest.mark.parametrize(("document", "line"), COMMANDS)
def test_a_command_of_the_documents_parses(document, line):
    for word in parse(line):
        if word.endswith(".yaml"):
            assert (ROOT / word).is_file(), f"{document} names {word}"


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize(
    "line", ["lidardistill pretrian x", "lidardistill pretrain", "lidardistill doctor --rooot x"]
)
def test_the_check_can_fail(line):
    with pytest.raises(Exception, match=r"pretrian|[Mm]issing|No such option"):
        parse(line)


def test_the_last_screen_of_the_demo_names_what_exists():
    text = (ROOT / "lidardistill" / "cli" / "demo.py").read_text()
    lines = [line.strip() for line in text.splitlines() if line.startswith("  lidardistill ")]
    assert len(lines) >= 3
    for line in lines:
        for word in parse(line):
            if word.endswith(".yaml"):
                assert (ROOT / word).is_file()
