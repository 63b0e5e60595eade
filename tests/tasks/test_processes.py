"""Killed runs and runs of two ranks; children.py does the forking."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lidardistill.engine.signals import EXIT_INTERRUPTED


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parents[1] / "support" / "children.py"),
            str(tmp_path_factory.mktemp("children")),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_uninterrupted_run_is_one_to_compare_with(found):
    assert found["kill"]["whole_steps"] == list(range(1, 12))
    assert found["kill"]["losses_differ"] == 11


@pytest.mark.parametrize("step", [0, 1, 3, 5, 10])
def test_killed_in_any_step_and_run_again_gives_the_same_losses_and_weights(found, step):
    assert found["kill"][f"step{step}"] == [-9, 0, True]


def test_killed_again_and_again(found):
    assert found["kill"]["several"] == [[-9, -9, -9, -9], 0, True]


@pytest.mark.parametrize("call", [3, 5, 6])
def test_killed_while_a_checkpoint_is_written(found, call):
    code, again, equal, _ = found["kill"][f"save{call}"]
    assert [code, again, equal] == [-9, 0, True]
    assert found["kill"][f"save{call}_left"] == 0
    assert found["kill"]["save3"][3] == 1  # the kill did leave a temporary file for the next run to remove


def test_sigterm_finishes_the_step_saves_and_is_continued(found):
    assert found["kill"]["term"] == [EXIT_INTERRUPTED, 5, 0, True]


def test_global_negatives_on_two_ranks_equal_one_process_with_the_joined_batch(found):
    assert found["negatives"]["world_size"] == [2, 2]
    assert found["negatives"]["max_error"] < 1e-6


def test_gather_and_its_gradient(found):
    assert found["negatives"]["gather"]
    assert found["negatives"]["gather_grad"]


def test_nan_on_one_rank_is_skipped_by_both(found):
    loop = found["loop"]
    assert loop["nan_skipped"] == [1, 1]
    assert loop["nan_weights_equal"]
    assert loop["nan_finite"]
    assert loop["nan_named"] == 1


def test_a_signal_to_one_rank_stops_both_after_the_same_step(found):
    steps = {entry[0] for entry in found["loop"]["stopped"]}
    assert len(steps) == 1
    assert steps <= {4, 5}
    assert [entry[1] for entry in found["loop"]["stopped"]] == [EXIT_INTERRUPTED] * 2
    assert found["loop"]["continued"] == [6, 6]
    assert found["loop"]["continued_equal"]


def test_of_two_ranks_the_first_alone_claims_judges_and_prints(found):
    verb = found["verb"]
    assert verb["calls"] == [["build", "finish"], ["build"]]
    assert verb["metrics"] == verb["again"] == [{"miou": 0.5}, {}]
    assert verb["steps"] == [4, 4]
    assert verb["outcomes"] == ["finished"]
