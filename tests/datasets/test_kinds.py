"""Which data set a config names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lidardistill.config.io import validate
from lidardistill.datasets.config import PairDataConfig
from lidardistill.datasets.kinds import open_source, source_config
from lidardistill.datasets.label_kinds import open_labels
from tests.support.kitti_root import write_kitti


def data(**values):
    return validate(PairDataConfig, {"dataroot": "somewhere", **values}, "test")


def test_old_files_name_nuscenes_without_saying_so():
    config = data(version="v1.0-mini", split="mini_train")
    assert config.kind == "nuscenes"
    assert config.source.version == "v1.0-mini"
    assert data().version == "v1.0-trainval"


def test_kitti_has_no_version_and_keeps_none_when_it_is_read_again():
    config = data(kind="kitti", split="training")
    assert config.version is None
    assert validate(PairDataConfig, config.model_dump(mode="json"), "again") == config
    with pytest.raises(ValueError, match=r"version: data of kind kitti has no versions; remove it"):
        data(kind="kitti", version="v1.0-mini")


@pytest.mark.parametrize(("key", "value"), [("kind", "waymo"), ("missing", "maybe"), ("kind", ["kitti"])])
def test_values_that_do_not_exist(key, value):
    with pytest.raises(ValueError, match=key):
        data(**{key: value})


def test_options_of_the_command_line(tmp_path):
    assert source_config("nuscenes", tmp_path).version == "v1.0-trainval"
    with pytest.raises(ValueError, match=r"--kind waymo: expected nuscenes or kitti"):
        source_config("waymo", tmp_path)
    with pytest.raises(ValueError, match=r"--version v1\.0-mini: data of kind kitti has no versions"):
        source_config("kitti", tmp_path, "v1.0-mini")
    with pytest.raises(ValueError, match=r"--missing maybe: expected error or skip"):
        source_config("kitti", tmp_path, missing="maybe")


def test_intensity_scale_belongs_to_the_source(tmp_path, tiny_world):
    kitti = open_source(source_config("kitti", write_kitti(tmp_path)))
    nuscenes = open_source(source_config("nuscenes", tiny_world, "v1.0-mini"))
    assert (kitti.intensity_scale, nuscenes.intensity_scale) == (1.0, 1 / 255)


def test_kitti_serves_pretraining_only(tmp_path):
    with pytest.raises(ValueError, match=r"data\.kind: data of kind kitti serves pretraining only"):
        open_labels(open_source(source_config("kitti", write_kitti(tmp_path))))


def test_keys_of_data_need_no_torch():
    code = (
        "import sys, lidardistill.datasets.config as c; c.PairDataConfig(dataroot='x');"
        "sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
