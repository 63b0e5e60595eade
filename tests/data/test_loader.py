"""Worker processes: the same batches as without them, quiet on signals, ended when told."""

import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import pytest
import torch

from lidardistill.data.config import AugmentConfig, ImageConfig
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.loader import TimedIterator, make_loader, warm_up
from lidardistill.data.sampler import EpochOrder, OnceSampler, StepSampler
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.image_pairs import ImagePairs, collate_pairs
from lidardistill.regions.superpixels.source import SuperpixelSource
from tests.support.inputs import scan_input

# A plain dict is a data set: its keys are the sampler's, and every worker process can unpickle it.
ORDER = EpochOrder(8, seed=0)
SAMPLES = {
    (epoch, position, place): (epoch, position, place)
    for epoch in range(60)
    for position, place in enumerate(ORDER.order(epoch).tolist())
}


def batches_of(num_workers, start_step=0, **options):
    sampler = StepSampler(ORDER, 3, start_step=start_step)
    return make_loader(SAMPLES, sampler, list, num_workers, **options)


@pytest.mark.parametrize("start_method", ["forkserver", "fork"])
def test_workers_change_nothing(start_method):
    expected = list(islice(StepSampler(ORDER, 3), 4, 14))
    assert list(islice(batches_of(0, start_step=4), 10)) == expected
    with TimedIterator(batches_of(2, start_step=4, start_method=start_method)) as batches:
        assert list(islice(batches, 10)) == expected


def test_evaluation_ends():
    data = {(0, place, place): place for place in range(5)}
    loader = make_loader(data, OnceSampler(5, 2), list)
    assert list(TimedIterator(loader)) == [[0, 1], [2, 3], [4]]


def test_workers_leave_signals_to_the_main_process():
    with TimedIterator(batches_of(2, start_method="fork")) as batches:
        list(islice(batches, 4))  # both workers have answered, so both have run `prepare_worker`
        workers = list(batches._iterator._workers)
        for worker in workers:
            for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
                os.kill(worker.pid, number)
        time.sleep(0.2)
        assert len(list(islice(batches, 20))) == 20
        assert all(worker.is_alive() for worker in workers)
    assert not any(worker.is_alive() for worker in workers)


def test_workers_end_even_while_an_error_is_held():
    """A traceback keeps the frames of the loader alive, and with them its workers, unless they are told."""
    first_batch = dict.fromkeys(next(iter(StepSampler(ORDER, 3))), 0)
    workers = []

    def train():
        loader = make_loader(first_batch, StepSampler(ORDER, 3), list, 1, start_method="fork")
        with TimedIterator(loader) as batches:
            next(batches)
            workers.extend(batches._iterator._workers)
            next(batches)

    with pytest.raises(KeyError) as held:
        train()
    assert not any(worker.is_alive() for worker in workers)
    del held


def test_waiting_is_measured():
    def slow():
        for number in range(4):
            time.sleep(0.05)
            yield number

    batches = TimedIterator(slow())
    assert next(batches) == 0
    first = batches.first_wait_s
    assert first >= 0.05
    assert batches.total_wait_s == 0.0
    time.sleep(0.05)  # the caller's own time does not count
    assert list(batches) == [1, 2, 3]
    assert batches.num_batches == 4
    assert batches.first_wait_s == first
    assert batches.total_wait_s >= 0.15
    assert batches.last_wait_s >= 0.05


def test_a_closed_iterator_has_ended():
    batches = TimedIterator(batches_of(0))
    next(batches)
    batches.close()
    batches.close()
    assert list(batches) == []


def test_warm_up_reads_one_sample():
    asked = []

    class Data:
        def __getitem__(self, key):
            asked.append(key)
            return np.zeros(1)

    assert warm_up(Data()) >= 0
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
    with pytest.raises(ValueError, match="num_workers >= 0"):
        batches_of(-1)
    with pytest.raises(ValueError, match="prefetch >= 1"):
        batches_of(1, prefetch=0)


def test_keyframes_come_through_a_fresh_process_unchanged(small_root, tmp_path):
    index = NuScenesIndex.open(small_root.write(), "v1.0-mini", cache_dir=tmp_path / "index")
    recipe = ImagePairs(
        scan_input(),
        AugmentConfig(image_size=(12, 20)),
        superpixels=SuperpixelSource(20, store=tmp_path / "superpixels"),
    )
    data = Keyframes(index, np.arange(6), recipe, seed=0)
    assert warm_up(data) > 0

    def batches(num_workers):
        loader = make_loader(data, StepSampler(EpochOrder(6, seed=0), 2), collate_pairs, num_workers)
        with TimedIterator(loader) as batches:
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
    """A store that is filled is read and not written, an empty one the other way round; a worker may meet both."""
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
