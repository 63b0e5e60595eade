import json
import math

import pytest

from lidardistill.engine import logging as module
from lidardistill.engine.data_wait import data_wait_advice
from lidardistill.engine.logging import MetricsFile, RunLogger, read_metrics


def test_lines_are_on_disk_at_once_and_nan_is_null(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.write({"step": 1, "loss": 0.1 + 0.2})
    metrics.write({"step": 2, "loss": math.nan})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 0.1 + 0.2},
        {"step": 2, "loss": None},
    ]
    metrics.close()


def test_resuming_cuts_what_was_logged_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    metrics = MetricsFile(path, start_step=2)
    metrics.write({"step": 3, "again": True})
    metrics.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
        {"step": 3, "again": True},
    ]


def test_a_fresh_start_forgets_an_old_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    MetricsFile(path).close()
    assert read_metrics(path) == []
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_plain_progress_lines_where_there_is_no_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "_PLAIN_EVERY_S", 0.0)
    logger = RunLogger(tmp_path)
    logger.start(10, 20)
    logger.log(11, {"loss": 1.5})
    logger.advance(11, 0.5)
    logger.close()
    line = capsys.readouterr().err
    assert "pretrain 11/20 loss 1.500" in line
    assert "ETA -" in line, "the first step compiles, so it tells nothing about the rest"
    assert "data wait 50% (slow loader)" in line


def test_a_slow_loader_gets_advice_once(tmp_path, caplog):
    logger = RunLogger(tmp_path, progress=False, data_wait_advice="buy a faster disk")
    logger.start(100, 200)
    for step in range(101, 120):
        logger.advance(step, 0.5)  # the first steps say little
    assert caplog.text == ""
    logger.advance(120, 0.05)
    assert caplog.text == ""
    for step in range(121, 200):
        logger.advance(step, 0.07)
    logger.close()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "data wait is 7 %, above 5 %: buy a faster disk"


def test_ranks_above_zero_give_no_advice(tmp_path, caplog):
    logger = RunLogger(tmp_path, write=False)
    logger.start(0, 200)
    logger.advance(100, 0.9)
    assert caplog.text == ""


def test_advice_leaves_out_what_is_done():
    everything = data_wait_advice(4, superpixels_ready=False, images_ready=False, cores=8)
    assert everything.index("lidardistill superpixels") < everything.index("data.num_workers, now 4")
    assert everything.index("data.num_workers") < everything.index("data.images.cache")
    assert "superpixels" not in data_wait_advice(4, images_ready=False, cores=8)
    assert "num_workers" not in data_wait_advice(8, images_ready=False, cores=8)
    assert data_wait_advice(8, cores=8).startswith("all 8 cores are in use")
    assert data_wait_advice(2, cores=8) == "raise data.num_workers, now 2, towards the 8 cores here"


def test_tensorboard_has_the_same_numbers(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = RunLogger(tmp_path, progress=False)
    logger.start(0, 2)
    logger.log(1, {"loss": 1.5, "loss/contrast": 1.25})
    logger.close()
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.5)]
    assert [(e.step, e.value) for e in events.Scalars("loss/contrast")] == [(1, 1.25)]


def test_a_resumed_run_shows_the_loss_of_before_and_never_nan(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "_PLAIN_EVERY_S", 0.0)
    for start, expected in ((0, "pretrain 1/9 data wait 0%"), (4, "pretrain 5/9 loss 2.500")):
        logger = RunLogger(tmp_path)
        logger.start(start, 9)
        logger.advance(start + 1, 0.0)
        logger.log(4, {"loss": 2.5})
        logger.close()
        assert expected in capsys.readouterr().err


def test_the_eta_leaves_out_the_first_step(tmp_path, capsys, monkeypatch):
    """The first of 100 steps takes 500 s, each of the others 1 s."""
    now = 0.0
    monkeypatch.setattr("lidardistill.progress.time.monotonic", lambda: now)
    logger = RunLogger(tmp_path)
    logger.start(0, 100)
    for step in range(1, 41):
        now += 500.0 if step == 1 else 1.0
        logger.advance(step, 0.0)
    logger.close()
    last = capsys.readouterr().err.splitlines()[-1]
    assert "31/100 data wait 0%  1.00 it/s  ETA 1:09" in last
