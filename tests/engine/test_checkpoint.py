import errno
import json
import logging
import pathlib
import pickle

import pytest
import torch

from lidardistill.engine.checkpoint import (
    config_differences,
    config_digest,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)

CONFIG = {"seed": 0, "optimizer": {"kind": "sgd", "lr": 0.5}, "data": {"num_workers": 4}}


def state(value=1.0):
    return {"model": {"weight": torch.full((64, 64), value)}, "progress": {"step": 3}}


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_goes_in_comes_out(tmp_path):
    path = save_checkpoint(tmp_path / "new" / "folder", 7, state(2.0), CONFIG)
    content = load_checkpoint(path, CONFIG)
    assert content["step"] == 7
    assert content["config"] == CONFIG
    assert torch.equal(content["state"]["model"]["weight"], state(2.0)["model"]["weight"])
    assert latest_checkpoint(path.parent) == path
    assert json.loads(path.with_suffix(".json").read_text())["config_digest"] == config_digest(CONFIG)


def test_only_the_newest_are_kept(tmp_path):
    for step in (5, 10, 100):
        save_checkpoint(tmp_path, step, state(), CONFIG, keep=2)
    assert files(tmp_path) == [
        "step-00000010.json",
        "step-00000010.pt",
        "step-00000100.json",
        "step-00000100.pt",
    ]


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "not there") is None


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
    old = save_checkpoint(tmp_path, 1, state(), CONFIG)
    save_checkpoint(tmp_path, 2, state(), CONFIG).with_suffix(".json").unlink()
    assert latest_checkpoint(tmp_path) == old


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty_the_summary(path):
    path.with_suffix(".json").write_text("")


@pytest.mark.parametrize("harm", [truncate, flip_a_byte, pathlib.Path.unlink, empty_the_summary])
def test_a_damaged_newest_is_passed_over_and_said(tmp_path, caplog, harm):
    old = save_checkpoint(tmp_path, 1, state(), CONFIG)
    new = save_checkpoint(tmp_path, 2, state(), CONFIG)
    harm(new)
    with caplog.at_level(logging.WARNING):
        assert latest_checkpoint(tmp_path) == old
    assert str(new) in caplog.text
    assert "damaged" in caplog.text


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path):
    for step in (1, 2):
        truncate(save_checkpoint(tmp_path, step, state(), CONFIG))
    with pytest.raises(ValueError, match="none of the 2 checkpoints"):
        latest_checkpoint(tmp_path)


def test_a_damaged_file_is_refused_when_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, state(), CONFIG)
    truncate(path)
    with pytest.raises(ValueError, match=r"damaged: expected \d+ bytes"):
        load_checkpoint(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="truncated or no checkpoint"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_checkpoint(tmp_path / "other.pt")


class Code:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("executed"),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "state": Code()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Code()))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(ValueError, match="could run code"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_another_file_of_tensors_is_no_checkpoint(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="weight"):
        load_checkpoint(tmp_path / "weights.pt")


def test_another_config_is_refused_by_its_keys(tmp_path):
    path = save_checkpoint(tmp_path, 1, state(), CONFIG)
    other = {
        "seed": 1,
        "optimizer": {"kind": "sgd", "lr": 0.1},
        "data": {"num_workers": 8},
        "new": True,
    }
    with pytest.raises(ValueError, match="another config") as caught:
        load_checkpoint(path, other, may_differ=("data.num_workers",))
    message = str(caught.value)
    assert "optimizer.lr: was 0.5, now 0.1" in message
    assert "seed: was 0, now 1" in message
    assert "new" not in message.replace("a new one", ""), "a key that came with a later version"
    assert config_differences({"term": None}, {"term": {"kind": "x"}}) == [
        "term.kind: was '(not there)', now 'x'",
    ]
    assert "num_workers" not in message
    assert config_differences(CONFIG, dict(reversed(CONFIG.items()))) == []
    assert config_digest(CONFIG) == config_digest(dict(reversed(CONFIG.items())))


class FullDisk:
    """A file on a disk with little space left."""

    def __init__(self, stream, space):
        self.stream, self.space = stream, space

    def write(self, data):
        self.space -= len(data)
        if self.space < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.stream.write(data)

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


@pytest.mark.parametrize("space", [0, 1000, 16000])
def test_a_full_disk_names_the_file_and_loses_nothing(tmp_path, monkeypatch, space):
    old = save_checkpoint(tmp_path, 1, state(), CONFIG)
    before = files(tmp_path)
    real_open = pathlib.Path.open

    def open_on_full_disk(path, mode="r", *args, **kwargs):
        stream = real_open(path, mode, *args, **kwargs)
        return FullDisk(stream, space) if "w" in mode else stream

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", open_on_full_disk)
        with pytest.raises(OSError, match=r"step-00000002\.pt.*No space left") as caught:
            save_checkpoint(tmp_path, 2, state(), CONFIG)
    assert caught.value.errno == errno.ENOSPC
    assert files(tmp_path) == before
    assert latest_checkpoint(tmp_path) == old
    save_checkpoint(tmp_path, 2, state(), CONFIG)
    assert latest_checkpoint(tmp_path).name == "step-00000002.pt"


def test_writing_over_a_damaged_checkpoint_of_the_same_step(tmp_path):
    path = save_checkpoint(tmp_path, 1, state(1.0), CONFIG)
    truncate(path)
    assert save_checkpoint(tmp_path, 1, state(2.0), CONFIG) == path
    assert load_checkpoint(path)["state"]["model"]["weight"][0, 0] == 2.0
