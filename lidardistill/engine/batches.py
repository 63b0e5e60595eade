"""Batches on the device: an endless stream for training, or one pass over the data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from lidardistill.data.keyframes import Keyframes
from lidardistill.data.loader import make_loader, prepare_workers
from lidardistill.data.sampler import EpochOrder, OnceSampler, StepSampler

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def share_of_batch(batch_size: int, world_size: int, accumulate: int) -> int:
    """Samples in one batch of one process.

    Args:
        batch_size: samples a step, over all processes and accumulated batches.
        world_size: processes.
        accumulate: batches a step.

    Raises:
        ValueError: batch_size is not a positive multiple of world_size * accumulate.
    """
    share, rest = divmod(batch_size, world_size * accumulate)
    if rest or share == 0:
        raise ValueError(
            f"data.batch_size: {batch_size} keyframes a step cannot be shared out evenly over {world_size} "
            f"processes and {accumulate} accumulated batches"
        )
    return share


def endless_batches(
    dataset: Keyframes, fabric: Fabric, *, share: int, seed: int, num_workers: int, start: int
) -> Iterator[Any]:
    """Endless batches of this process from batch number `start` on; the seed fixes their order.

    Args:
        dataset: samples by `SampleKey`.
        fabric: gives the rank of this process.
        share: samples of a batch.
        seed: seed of the sample order.
        num_workers: worker processes of the loader.
        start: number of the first batch.
    """
    order = EpochOrder(len(dataset), seed)
    sampler = StepSampler(order, share, fabric.global_rank, fabric.world_size, start)
    prepare_workers(dataset, dataset.collate, share, num_workers)
    pin_memory = fabric.device.type == "cuda"
    return iter(make_loader(dataset, sampler, dataset.collate, num_workers, pin_memory=pin_memory))


def batches_once(
    dataset: Keyframes, device: torch.device, *, batch_size: int, num_workers: int
) -> Iterator[Any]:
    """Every sample once, in the order of the data set, on the device."""
    sampler = OnceSampler(len(dataset), batch_size)
    prepare_workers(dataset, dataset.collate, batch_size, num_workers)
    loader: Iterable[Any] = make_loader(dataset, sampler, dataset.collate, num_workers)
    for batch in loader:
        yield batch.to(device)
