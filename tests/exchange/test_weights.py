"""Weight files: what is read, what is refused, and that nothing is half written."""

from __future__ import annotations

import argparse
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lidardistill.weights import load_checkpoint_tensors, load_matching, save_backbone


class Unexpected:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("zip_format", [True, False])
def test_nested_dictionaries_become_dotted_names(tmp_path, zip_format):
    content = {
        "epoch": 3,
        "arch": "resnet50",
        "state_dict": {"a.b": torch.ones(2)},
        "more": {"x": {1: torch.zeros(3)}},
    }
    torch.save(content, tmp_path / "c.pth", _use_new_zipfile_serialization=zip_format)
    found = load_checkpoint_tensors(tmp_path / "c.pth")
    assert {k: v.tolist() for k, v in found.items()} == {"state_dict.a.b": [1, 1], "more.x.1": [0, 0, 0]}


@pytest.mark.parametrize(
    ("beside", "name"),
    [(argparse.Namespace(lr=0.1), r"argparse\.Namespace"), (np.float64(0.5), r"numpy\.[\w.]+\.scalar")],
)
def test_what_authors_put_beside_their_tensors_is_named(tmp_path, beside, name):
    """As DINO's files do with their arguments, and others with a best score."""
    torch.save({"teacher": {"w": torch.ones(2)}, "args": beside}, tmp_path / "dino.pth")
    with pytest.raises(ValueError, match=rf"dino\.pth holds the Python object {name} .*torch\.save") as caught:
        load_checkpoint_tensors(tmp_path / "dino.pth")
    assert "\n" not in str(caught.value)


def test_safetensors(tmp_path):
    save_file({"a": torch.arange(3)}, tmp_path / "a.safetensors")
    assert load_checkpoint_tensors(str(tmp_path / "a.safetensors"))["a"].tolist() == [0, 1, 2]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        load_checkpoint_tensors(tmp_path / "nothing.pth")


@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_one_clear_error(tmp_path, keep, kind):
    path = tmp_path / ("c.safetensors" if kind == "safetensors" else "c.pth")
    tensors = {f"layer{i}.weight": torch.randn(30, 30) for i in range(4)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=rf"{path.name}.*truncated"):
        load_checkpoint_tensors(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, kind):
    trace, path = tmp_path / "was_here", tmp_path / "evil.pth"
    content = {"a": torch.ones(1), "b": Unexpected(trace)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"b": Unexpected(trace)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ValueError, match=r"evil\.pth"):
        load_checkpoint_tensors(path)
    assert not trace.exists()


def test_code_is_called_code(tmp_path):
    torch.save({"b": Unexpected(tmp_path / "was_here")}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"holds the Python object \w+\.mkdir .*could run code, so the file is refused"):
        load_checkpoint_tensors(tmp_path / "evil.pth")


@pytest.mark.parametrize("content", [b"hello, I am a text file\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(200)])
def test_another_file_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    (tmp_path / "x.safetensors").write_bytes(content)
    for name in ("x.pth", "x.safetensors"):
        with pytest.raises(ValueError, match=f"{name}.*(no checkpoint|truncated)"):
            load_checkpoint_tensors(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], torch.ones(2), {"epoch": 3}])
def test_a_checkpoint_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth holds no tensors by name"):
        load_checkpoint_tensors(tmp_path / "x.pth")


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_matching_tensors_are_copied():
    source, target = net().state_dict(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    report = load_matching(
        target, {f"net.{k}": v for k, v in source.items()}, lambda k: k.removeprefix("net.")
    )
    assert len(report.matched) == 7
    assert not report.missing + report.unexpected + report.mismatched
    for key, value in target.state_dict().items():
        assert torch.equal(value, source[key])


def test_counters_of_batches_may_lack():
    state = {k: v for k, v in net().state_dict().items() if "num_batches" not in k}
    assert not load_matching(net(), state).missing


def untouched(change, message, **options):
    target = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_matching(target, change(dict(net().state_dict())), **options)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_nothing_in_common():
    untouched(lambda s: {f"x.{k}": v for k, v in s.items()}, "no tensor in common.*0.weight.*x.0.weight")
    untouched(lambda s: {}, "no tensor in common")


def test_a_missing_tensor():
    untouched(lambda s: {k: v for k, v in s.items() if k != "1.bias"}, r"1 missing \(1\.bias\)")


def test_a_left_over_tensor():
    untouched(lambda s: s | {"2.weight": torch.ones(1)}, r"1 unexpected \(2\.weight\)")


def test_another_shape():
    untouched(lambda s: s | {"0.weight": torch.ones(4, 5)}, r"0\.weight \(4, 3\) but found \(4, 5\)")


def test_too_little_even_where_some_may_lack():
    untouched(lambda s: {"0.bias": s["0.bias"]}, "5 missing", min_share=0.5)


def test_what_may_lack_is_in_the_report():
    state = dict(net().state_dict())
    state.pop("0.bias")
    report = load_matching(net(), state | {"extra": torch.ones(1)}, min_share=0.5, allow_extras=True)
    assert (report.missing, report.unexpected) == (("0.bias",), ("extra",))
    assert "1 missing (0.bias)" in str(report)


def test_a_backbone_and_its_card(tmp_path):
    state = net().state_dict()
    state["view"] = torch.arange(6).view(2, 3).t()
    card = save_backbone(tmp_path / "deep" / "b.safetensors", state, {"steps": 5})
    assert card == tmp_path / "deep" / "b.json"
    assert json.loads(card.read_text()) == {"steps": 5}
    found = load_file(tmp_path / "deep" / "b.safetensors")
    assert all(torch.equal(found[k], v) for k, v in state.items())
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["b.json", "b.safetensors"]


def test_a_file_is_replaced_and_not_written_into(tmp_path):
    """Who has the old file open keeps the whole old file."""
    path = tmp_path / "b.safetensors"
    save_backbone(path, {"a": torch.zeros(1)}, {})
    os.link(path, tmp_path / "opened")
    save_backbone(path, {"a": torch.ones(2)}, {})
    assert load_file(tmp_path / "opened")["a"].tolist() == [0]
    assert load_file(path)["a"].tolist() == [1, 1]


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    shared = torch.ones(3)
    save_backbone(tmp_path / "b.safetensors", {"a": shared, "b": shared}, {})
    assert set(load_file(tmp_path / "b.safetensors")) == {"a", "b"}


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        save_backbone(tmp_path / "b.pth", {}, {})


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "b.safetensors"
    save_backbone(path, {"a": torch.zeros(1)}, {"old": True})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lidardistill.atomic.os.fsync", full)
    with pytest.raises(OSError, match=r"b\.safetensors.*No space left"):
        save_backbone(path, {"a": torch.ones(1)}, {"old": False})
    assert load_file(path)["a"].item() == 0
    assert json.loads(path.with_suffix(".json").read_text()) == {"old": True}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.json", "b.safetensors"]
