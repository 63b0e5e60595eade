import pytest
import torch
from torch import nn

from lidardistill.engine.distributed import (
    average_gradients,
    broadcast_module,
    gather_objects,
    launched_processes,
    make_fabric,
)


@pytest.fixture
def environment(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID", "SLURM_JOB_NAME", "SLURM_NTASKS", "SLURM_NNODES"):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def test_no_launcher_is_one_process(environment):
    assert launched_processes() == (1, 1)


def test_torchrun(environment):
    environment(
        TORCHELASTIC_RUN_ID="x", LOCAL_WORLD_SIZE="4", WORLD_SIZE="8", SLURM_PROCID="0", SLURM_NTASKS="2"
    )
    assert launched_processes() == (4, 2)


def test_slurm_and_a_shell_inside_slurm(environment):
    environment(SLURM_PROCID="0", SLURM_NTASKS="8", SLURM_NNODES="2", SLURM_JOB_NAME="pretrain")
    assert launched_processes() == (4, 2)
    environment(SLURM_JOB_NAME="bash")
    assert launched_processes() == (1, 1)


def test_without_a_process_group_everything_is_local(environment):
    assert gather_objects("x") == ["x"]
    layer = nn.Linear(2, 2)
    extra = torch.tensor([1.0])
    assert average_gradients(list(layer.parameters()), extra) is extra
    assert layer.weight.grad is None
    broadcast_module(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "fp32, bf16, fp16"),
        ({"accelerator": "cpu", "precision": "fp16"}, "fp16 needs a GPU"),
    ],
)
def test_what_cannot_be_given_is_said_at_once(environment, options, message):
    with pytest.raises(ValueError, match=message):
        make_fabric(**options)


def test_a_missing_gpu_is_said_at_once(environment, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU"):
        make_fabric("cuda")


def test_precision_is_autocast(environment):
    layer = nn.Linear(2, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        fabric = make_fabric("cpu", precision=precision)
        with fabric.autocast():
            assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32
