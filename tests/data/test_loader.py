"""Worker processes: same batches as without them, no reaction to signals, end on `close`."""

import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice

import numpy as np
import pytest
import torch

from lidardistill.data import loader as module
from lidardistill.data.config import AugmentConfig, ImageConfig
from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.loader import check_shared_memory, make_loader, prepare_workers, warm_up
from lidardistill.data.sampler import EpochOrder, OnceSampler, StepSampler
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.image_pairs import ImagePairs, collate_pairs
from lidardistill.regions.superpixels.source import SuperpixelSource
from tests.support.inputs import scan_input
from tests.support.orphans import left_behind

# A dict with the sampler's keys serves as a data set; every worker process can unpickle it.
ORDER = EpochOrder(8, seed=0)
SAMPLES = {
    (epoch, position, place): (epoch, position, place)
    for epoch in range(60)
    for position, place in enumerate(ORDER.order(epoch).tolist())
}


def batches_of(num_workers, start_step=0, samples=SAMPLES):
    return iter(make_loader(samples, StepSampler(ORDER, 3, start_step=start_step), list, num_workers))


def test_workers_change_nothing():
    expected = list(islice(StepSampler(ORDER, 3), 4, 14))
    assert list(islice(batches_of(0, start_step=4), 10)) == expected
    with closing(batches_of(2, start_step=4)) as batches:
        assert list(islice(batches, 10)) == expected


def test_evaluation_ends():
    data = {(0, place, place): place for place in range(5)}
    assert list(make_loader(data, OnceSampler(5, 2), list)) == [[0, 1], [2, 3], [4]]
    assert list(make_loader(data, OnceSampler(5, 2), list, 1)) == [[0, 1], [2, 3], [4]]


def test_workers_leave_signals_to_the_main_process():
    with closing(batches_of(2)) as batches:
        list(islice(batches, 4))  # both workers have answered, so both have run `prepare_worker`
        for worker in batches.workers:
            for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
                os.kill(worker.pid, number)
        time.sleep(0.2)
        assert len(list(islice(batches, 20))) == 20
        assert all(worker.is_alive() for worker in batches.workers)
    assert not any(worker.is_alive() for worker in batches.workers)


def test_workers_end_even_while_an_error_is_held():
    """A traceback keeps the frames of the loader alive, and with them its workers, unless they are closed."""
    first_batch = dict.fromkeys(next(iter(StepSampler(ORDER, 3))), 0)
    workers = []

    def train():
        with closing(batches_of(1, samples=first_batch)) as batches:
            next(batches)
            workers.extend(batches.workers)
            next(batches)

    with pytest.raises(KeyError) as held:
        train()
    assert not any(worker.is_alive() for worker in workers)
    del held


class Broken(dict):
    """A data set of one sample, and of errors of several kinds."""

    def __getitem__(self, key):
        kind = key[2]
        if kind == 1:
            raise CorruptSample("picture a.jpg: expected 9 bytes,\ngot 3")
        if kind == 2:
            raise FileNotFoundError("no picture b.jpg")
        if kind == 3:
            os._exit(9)
        return lambda: "functions cannot be pickled" if kind == 4 else kind

    def __len__(self):
        return 1


def broken(kind):
    return iter(make_loader(Broken(), [[(0, 0, kind)]], list, 1))


def test_the_error_of_a_worker_keeps_its_class_and_loses_its_traceback():
    with closing(broken(1)) as batches, pytest.raises(CorruptSample) as caught:
        next(batches)
    assert str(caught.value) == "picture a.jpg: expected 9 bytes,\ngot 3"
    with closing(broken(2)) as batches, pytest.raises(FileNotFoundError, match=r"^no picture b\.jpg$"):
        next(batches)


def test_a_worker_that_dies_is_an_error():
    with closing(broken(3)) as batches, pytest.raises(RuntimeError, match=r"died .* lower data\.num_workers"):
        next(batches)


def test_a_batch_that_cannot_be_handed_over_is_an_error():
    """torch prints a traceback in the worker, and the main process waits for the batch for ever."""
    with closing(broken(4)) as batches, pytest.raises(RuntimeError, match="cannot hand over a batch"):
        next(batches)


class Hung(Broken):
    def __getitem__(self, key):
        time.sleep(600)


def test_a_worker_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(module, "_END_GRACE_S", 0.2)
    batches = iter(make_loader(Hung(), [[(0, 0, 0)]], list, 1))
    time.sleep(0.2)
    batches.close()
    assert not any(worker.is_alive() for worker in batches.workers)


def test_a_closed_iterator_has_ended():
    batches = batches_of(0)
    next(batches)
    batches.close()
    batches.close()
    assert list(batches) == []


def test_shared_memory_that_is_too_small_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr(module, "free_shared_memory", lambda: (64_000_000, 60_000_000))
    check_shared_memory(20_000_000, 1)
    with pytest.raises(OSError, match=r"60 MB of them free, and batches of 21 MB need 63 MB.*--shm-size"):
        check_shared_memory(21_000_000, 1)
    with pytest.raises(OSError, match=r"/dev/shm is too small for 4 loader .* data\.num_workers=0"):
        check_shared_memory(20_000_000, 4)
    monkeypatch.setattr(module, "free_shared_memory", lambda: None)
    check_shared_memory(10**12, 8)  # no such folder on this system


def test_the_first_sample_is_what_a_batch_is_measured_by(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "check_shared_memory", lambda *found: seen.append(found))
    data = {(0, 0, 0): {"a": torch.zeros(3, 4), "b": (torch.zeros(2, dtype=torch.uint8), "no tensor")}}
    prepare_workers(data, list, 5, 2)
    prepare_workers({}, list, 5, 0)
    assert seen == [(5 * (48 + 2), 2)]


_PARENT = """
import time
from itertools import islice
from tests.data.test_loader import batches_of
batches = batches_of(2)
list(islice(batches, 4))
print("ready", flush=True)
time.sleep(600)
"""


def test_workers_end_with_a_parent_that_is_killed():
    assert left_behind(_PARENT) == 0


def test_warm_up_reads_one_sample():
    asked = []

    class Data:
        def __getitem__(self, key):
            asked.append(key)
            return 5

    assert warm_up(Data()) == 5
    assert asked == [(0, 0, 0)]


def test_warm_up_calls_that_of_the_data_set_before_it_reads_a_sample():
    done = []

    class Data:
        def warm_up(self):
            done.append("kernels")

        def __getitem__(self, key):
            done.append("sample")

    warm_up(Data())
    assert done == ["kernels", "sample"]


def test_a_long_warm_up_says_what_takes_so_long(caplog):
    caplog.set_level("INFO", logger="lidardistill")

    class Data:
        compiled = False

        def warm_up(self):
            self.compiled = True

        def __getitem__(self, key):
            assert self.compiled
            time.sleep(0.3)

    warm_up(Data(), say_after_s=30.0)
    assert caplog.text == ""
    warm_up(Data(), say_after_s=0.05)
    (record,) = caplog.records
    assert record.getMessage().startswith("compiling the loader's kernels")


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="num_workers: expected 0 or more"):
        batches_of(-1)


def test_keyframes_come_through_a_fresh_process_unchanged(small_root, tmp_path):
    index = NuScenesIndex.open(small_root.write(), "v1.0-mini", cache_dir=tmp_path / "index")
    recipe = ImagePairs(
        scan_input(),
        AugmentConfig(image_size=(12, 20)),
        superpixels=SuperpixelSource(20, store=tmp_path / "superpixels"),
    )
    data = Keyframes(index, np.arange(6), recipe, seed=0)
    warm_up(data)

    def batches(num_workers):
        loader = make_loader(data, StepSampler(EpochOrder(6, seed=0), 2), collate_pairs, num_workers)
        with closing(iter(loader)) as batches:
            return list(islice(batches, 3))

    for here, there in zip(batches(0), batches(1), strict=True):
        assert here.sample_tokens == there.sample_tokens
        for name in ("points", "images", "superpixels", "pairing_points", "pairing_images"):
            assert torch.equal(getattr(here, name), getattr(there, name)), name
        assert torch.equal(here.voxels.voxel_coords, there.voxels.voxel_coords)


WARMED_UP = """
import pickle, sys
from lidardistill.data.loader import warm_up
from lidardistill.regions.superpixels import _run_codec_numba as codec
from lidardistill.regions.superpixels import _average_numba as average
data = pickle.loads(bytes.fromhex(sys.stdin.read()))
kernels = [codec._encode, codec._decode, codec._decode_at, average.average_blocks]
counts = lambda: [len(kernel.signatures) for kernel in kernels]
warm_up(data)
before = counts()
for position in range(6):
    data[0, position, position]
    data[1, position, position]
print(before, counts())
"""


def test_a_warmed_up_data_set_compiles_nothing_more(small_root, tmp_path):
    """A filled store is only read, an empty one only written; a worker must support both."""
    index = NuScenesIndex.open(small_root.write(), "v1.0-mini", cache_dir=tmp_path / "index")
    recipe = ImagePairs(
        scan_input(),
        AugmentConfig(image_size=(12, 20)),
        ImageConfig(scale=2, cache=str(tmp_path / "images")),
        superpixels=SuperpixelSource(20, store=tmp_path / "superpixels"),
    )
    data = Keyframes(index, np.arange(6), recipe, seed=0)
    child = subprocess.run(
        [sys.executable, "-c", WARMED_UP],
        input=pickle.dumps(data).hex(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == "[1, 1, 1, 1] [1, 1, 1, 1]"
