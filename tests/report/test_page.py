"""The page: every figure is on it, nothing is fetched, and nothing that is missing stops it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lidardistill.report.page import MAX_BYTES, write_page
from lidardistill.report.runs import read_arms, read_summary

MakeArm = Callable[..., Path]


class Page(HTMLParser):
    """What a browser would make of it: tags that were left open, pictures, text."""

    VOID = ("meta", "img", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.source = path, path.read_text()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(self.source)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += " " + data

    def assert_self_contained(self) -> None:
        markup = re.sub(r'src="data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+"', "", self.source)
        assert len(markup) < 60_000
        for fetched in ("http", "//", "<script", "url(", "@import", "src=", "href="):
            assert fetched not in markup.replace("</", ""), fetched
        assert all(str(image["src"]).startswith("data:image/") and image["alt"] for image in self.images)
        assert len(self.source.encode()) < MAX_BYTES


def test_a_complete_page_holds_every_figure(make_arm: MakeArm, tmp_path: Path) -> None:
    runs = [make_arm(name) for name in ("pretrained", "random", "permuted")]
    summary = {"hand_made": [21.7], "seconds": {"world": 111.2}, "memory_mb": {"world": 900.4}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    page = Page(write_page(runs, tmp_path / "report.html", title="A <demo> & more"))
    page.assert_self_contained()
    assert len(page.images) == 9
    text = page.text
    assert "A <demo> & more" in text
    for shown in ("52.2", "12.3", "11.7", "21.7", "+39.9", "−39.9", "mini_val", "nuscenes-devkit 1.2.0"):
        assert shown in text, shown
    for shown in ("driveable surface", "94.0", "22.1", "loss 3.10", "log N 6.24", "R2", "0.20"):
        assert shown in text, shown
    assert "mostly shows position" not in text
    for shown in (
        "lidardistill demo --out runs/demo",
        "0123456789",
        "2.1 min",
        "1.5 GiB",
        "111 s",
        "900 MiB",
    ):
        assert shown in text, shown
    assert "Not here" not in text


def test_one_arm_alone(make_arm: MakeArm, tmp_path: Path) -> None:
    page = Page(write_page([make_arm("pretrained", ("showcase",))], tmp_path / "report.html"))
    page.assert_self_contained()
    assert "52.2" in page.text
    assert "showcase.npz" in page.text
    assert "instead of" not in page.text  # nothing to compare with
    assert len(page.images) == 2


@pytest.mark.parametrize("lacking", ["probe", "curves", "pretrain", "showcase"])
def test_what_is_missing_is_said(make_arm: MakeArm, tmp_path: Path, lacking: str) -> None:
    runs = [make_arm("pretrained", (lacking, "showcase")), make_arm("random"), tmp_path / "nowhere"]
    page = Page(write_page(runs, tmp_path / "report.html"))
    page.assert_self_contained()
    assert "Not here" in page.text
    assert "nowhere" in page.text
    assert "12.3" in page.text
    said = {
        "probe": "a probe: no score", "curves": "no curves", "pretrain": "no curves",
        "showcase": "no pictures",
    }  # fmt: skip
    assert said[lacking] in page.text


def test_damaged_files_are_as_good_as_missing(make_arm: MakeArm, tmp_path: Path) -> None:
    arm = make_arm("pretrained")
    for name in ("pretrain/config.yaml", "pretrain/manifest.json", "probe/metrics.json", "showcase.npz"):
        (arm / name).write_bytes(b"{cut sh")
    history = arm / "pretrain" / "metrics.jsonl"
    history.write_text(history.read_text() + '{"step": 1001, "lo')
    page = Page(write_page([arm], tmp_path / "report.html"))
    page.assert_self_contained()
    assert "cannot be read as a showcase" in page.text
    assert "loss 3.10" in page.text


def test_plain_run_folders(make_arm: MakeArm, tmp_path: Path) -> None:
    arm = make_arm("pretrained")
    arms, notes = read_arms([arm / "pretrain", arm / "probe"])
    assert [list(found.parts) for found in arms] == [["pretrain"], ["probe"]]
    assert arms[0].showcase == arm / "showcase.npz"  # it lies beside the run
    assert notes == []
    (arm / "showcase.npz").unlink()
    page = Page(write_page([arm / "pretrain", arm / "probe"], tmp_path / "report.html"))
    page.assert_self_contained()
    assert "52.2" in page.text


def test_a_worse_pretraining_is_not_praised(make_arm: MakeArm, tmp_path: Path) -> None:
    runs = [make_arm("pretrained", ("showcase", "curves")), make_arm("random")]
    metrics = json.loads((runs[0] / "probe" / "metrics.json").read_text())
    (runs[0] / "probe" / "metrics.json").write_text(json.dumps({**metrics, "miou": 0.1}))
    page = Page(write_page(runs, tmp_path / "report.html"))
    assert "gained nothing" in page.text
    assert "is worth" not in page.text


def test_colours_of_position_are_called_so_and_no_labels_no_segmentation(
    make_arm: MakeArm, make_showcase: Callable[..., Path], tmp_path: Path
) -> None:
    arm = make_arm("pretrained", ("curves",))
    make_showcase(arm / "showcase.npz", r2=0.9, labels=False, predictions=False)
    page = Page(write_page([arm], tmp_path / "report.html"))
    assert "mostly shows position" in page.text
    assert "0.90" in page.text
    assert "Predictions and labels" not in page.text
    assert len(page.images) == 6


def test_no_run_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to report"):
        write_page([tmp_path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_arms_of_one_name_are_told_apart(make_arm: MakeArm) -> None:
    arms, _ = read_arms([make_arm("a/pretrained"), make_arm("b/pretrained"), make_arm("random")])
    assert [arm.label for arm in arms] == ["pretrained (a/pretrained)", "pretrained (b/pretrained)", "random"]
    assert arms[0].color == arms[1].color != arms[2].color


def test_hand_made_features_without_a_summary(tmp_path: Path) -> None:
    (tmp_path / "hand_made").mkdir()
    (tmp_path / "hand_made" / "metrics.json").write_text('{"miou": 0.2175}')
    assert read_summary([tmp_path / "pretrained"])["hand_made"] == [pytest.approx(21.75)]


def test_colours_differ_in_brightness_where_shapes_do_not() -> None:
    """Of classes drawn as dots and in the same layer, no two may turn into one grey."""
    from lidardistill.report.draw.palette import CLASS_STYLES, hex_rgb

    moving = [style for style in CLASS_STYLES.values() if style.order == 3]
    light = np.sort([np.dot(hex_rgb(style.color), (0.299, 0.587, 0.114)) for style in moving])
    assert (np.diff(light) > 8).all()
