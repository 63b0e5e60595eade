"""Relative links in the documents resolve, and so do the decisions that code and configs name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / "datasets").rglob("*.md"),
]

CODE = re.compile(r"^```.*?^```|`[^`]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
MENTION = re.compile(r"docs/decisions(?:/[\w.-]+)?\.md")
SECTIONS = ["Context", "Decision", "Alternatives", "Figures"]


def links(text: str) -> list[str]:
    """Return the link targets of a document inside the repository."""
    targets = LINK.findall(CODE.sub("", text))
    return [target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE)]


def anchors(text: str) -> set[str]:
    """Return GitHub's anchors of a document's headings."""
    headings = HEADING.findall(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(document: Path) -> list[str]:
    """Return the links of a document to missing files or headings."""
    bad = []
    for target in links(document.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        headings = (
            anchors(file.read_text(encoding="utf-8")) if file.suffix == ".md" and file.exists() else set()
        )
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in headings):
            bad.append(target)
    return bad


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(document):
    assert broken(document) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A heading: here\n")
    document = tmp_path / "document.md"
    document.write_text(
        "[a](there.md) [b](there.md#a-heading-here) [c](https://example.org/x) `[d](code.md)`\n"
        "```\n[e](fenced.md)\n```\n[f](missing.md) [g](there.md#missing) ![h](missing.png)\n"
    )
    assert broken(document) == ["missing.md", "there.md#missing", "missing.png"]


def test_decisions_named_in_code_and_configs_exist():
    folders = [ROOT / name for name in ("lidardistill", "configs", "tools", "tests", "docker")]
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".py", ".yaml", ".md", ".sh"}
    ]
    files += [*ROOT.glob("*.toml"), *ROOT.glob("*.txt"), *ROOT.glob("*.md"), *DOCUMENTS]
    named = [(path, name) for path in files for name in MENTION.findall(path.read_text(encoding="utf-8"))]
    missing = [f"{path.relative_to(ROOT)}: {name}" for path, name in named if not (ROOT / name).is_file()]
    assert named
    assert missing == []


def test_the_index_lists_every_decision_once_and_in_order():
    files = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    index = [
        target
        for target in links((DECISIONS / "README.md").read_text(encoding="utf-8"))
        if target[0].isdigit()
    ]
    assert index == files
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))


@pytest.mark.parametrize("path", sorted(DECISIONS.glob("[0-9]*.md")), ids=lambda path: path.name[:4])
def test_a_decision_has_the_parts_of_the_template(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]}. ")
    assert re.search(r"^- Status: (accepted|superseded by \d{4})$", text, re.MULTILINE)
    assert re.search(r"^- Date and commit: .", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
