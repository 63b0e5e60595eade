from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES, RAW_TO_CLASS
from lidardistill.synthetic.write.nuscenes_writer import rasterize_map, write_scene
from lidardistill.synthetic.write.recording import GroundMap, SceneRecording
from lidardistill.synthetic.write.static_tables import TABLE_NAMES, make_token, write_tables

Recorder = Callable[..., SceneRecording]

OBJECTS = [
    ("vehicle.car", "vehicle.moving"),
    ("vehicle.truck", "vehicle.parked"),
    ("vehicle.bus.rigid", "vehicle.stopped"),
    ("vehicle.trailer", "vehicle.parked"),
    ("vehicle.construction", "vehicle.parked"),
    ("human.pedestrian.adult", "pedestrian.standing"),
    ("vehicle.motorcycle", "cycle.without_rider"),
    ("vehicle.bicycle", "cycle.with_rider"),
    ("movable_object.trafficcone", None),
    ("movable_object.barrier", None),
]
"""What conftest's recorder puts into a scene, in its order."""


@pytest.fixture(scope="module")
def nusc(fake_world: Path) -> Any:
    devkit = pytest.importorskip("nuscenes")
    return devkit.NuScenes(version="v1.0-mini", dataroot=str(fake_world), verbose=False)


@pytest.fixture
def recording(recorder: Recorder) -> SceneRecording:
    return recorder("scene-0061", 3, keyframes=2, image_size=(16, 24), palette="natural")


def changed(recording: SceneRecording, number: int, **changes: Any) -> SceneRecording:
    """The recording with one keyframe changed; values are functions of the keyframe."""
    keyframes = list(recording.keyframes)
    new = {name: change(keyframes[number]) for name, change in changes.items()}
    keyframes[number] = dataclasses.replace(keyframes[number], **new)
    return dataclasses.replace(recording, keyframes=keyframes)


def test_devkit_opens_every_table(nusc: Any) -> None:
    assert [scene["name"] for scene in nusc.scene] == [
        "scene-0061",
        "scene-0103",
        "scene-0553",
        "scene-0655",
        "scene-0916",
    ]
    assert len(nusc.sample) == 5 * 4
    assert {len(sample["data"]) for sample in nusc.sample} == {7}
    assert [category["index"] for category in nusc.category] == list(range(32))
    assert nusc.lidarseg_idx2name_mapping == dict(enumerate(RAW_CLASSES))
    assert sum(not row["is_key_frame"] for row in nusc.sample_data) == 5 * 3 * 2
    nusc.list_scenes()
    nusc.list_lidarseg_categories()
    nusc.list_attributes()


def test_tokens_are_unique_hexadecimal_and_of_this_world(fake_world: Path) -> None:
    for name in TABLE_NAMES:
        tokens = [row["token"] for row in json.loads((fake_world / f"v1.0-mini/{name}.json").read_text())]
        assert len(set(tokens)) == len(tokens), name
        if name != "visibility":
            assert all(len(token) == 32 and int(token, 16) >= 0 for token in tokens), name
    assert make_token(0, "sample", 11) != make_token(1, "sample", 11)
    assert make_token(0, "sample", 1, 1) != make_token(0, "sample", 11)


def test_chains_lead_from_first_to_last_in_order_of_time(nusc: Any) -> None:
    def walk(table: str, first: str) -> list[dict[str, Any]]:
        rows, token = [], first
        while token:
            rows.append(nusc.get(table, token))
            assert rows[-1]["prev"] == (rows[-2]["token"] if len(rows) > 1 else "")
            token = rows[-1]["next"]
        return rows

    seen = 0
    for scene in nusc.scene:
        samples = walk("sample", scene["first_sample_token"])
        assert samples[-1]["token"] == scene["last_sample_token"]
        assert len(samples) == scene["nbr_samples"]
        for channel, first in samples[0]["data"].items():
            rows = walk("sample_data", first)
            times = [row["timestamp"] for row in rows]
            assert times == sorted(set(times))
            assert len(rows) == (4 + 3 * 2 if channel == "LIDAR_TOP" else 4)
            seen += len(rows)
    assert seen == len(nusc.sample_data)
    for instance in nusc.instance:
        rows = walk("sample_annotation", instance["first_annotation_token"])
        assert rows[-1]["token"] == instance["last_annotation_token"]
        assert len(rows) == instance["nbr_annotations"] == 4


def test_boxes_hold_their_points_in_the_lidar_frame(nusc: Any) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    for sample in nusc.sample[::3]:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        cloud = LidarPointCloud.from_file(path)
        labels = np.fromfile(
            Path(nusc.dataroot) / nusc.get("lidarseg", sample["data"]["LIDAR_TOP"])["filename"], np.uint8
        )
        assert cloud.points.shape[1] == len(labels)
        assert len(boxes) == 10
        for box in boxes:
            inside = points_in_box(box, cloud.points[:3])
            assert inside.sum() == nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            assert set(labels[inside]) == {RAW_CLASSES.index(box.name)}


def test_boxes_stand_where_each_camera_saw_them(nusc: Any, recorder: Recorder) -> None:
    from nuscenes.utils.geometry_utils import BoxVisibility

    from lidardistill.synthetic.write.dataset import scene_seed

    recording = recorder(
        "scene-0061", scene_seed(0, "scene-0061"), keyframes=4, image_size=(30, 52), palette="natural"
    )
    for sample, keyframe in zip(nusc.sample[:4], recording.keyframes, strict=True):
        for view, image in enumerate(keyframe.images):
            row = nusc.get("sample_data", sample["data"][image.channel])
            assert (row["timestamp"], row["fileformat"]) == (image.timestamp_us, "jpg")
            assert (row["height"], row["width"]) == (30, 52)
            _, boxes, intrinsics = nusc.get_sample_data(row["token"], BoxVisibility.NONE)
            np.testing.assert_allclose(intrinsics, recording.rig.intrinsics[view])
            cam2global = image.ego2global @ recording.rig.cam2ego[view]
            for box, recorded in zip(boxes, keyframe.boxes, strict=True):
                expected = np.linalg.inv(cam2global) @ [*recorded.center, 1.0]
                np.testing.assert_allclose(box.center, expected[:3], atol=1e-9)


def test_annotations_carry_attribute_visibility_and_size(nusc: Any) -> None:
    levels = ["v0-40", "v40-60", "v60-80", "v80-100"]
    for row in nusc.sample_annotation:
        names = [nusc.get("attribute", token)["name"] for token in row["attribute_tokens"]]
        assert (row["category_name"], *(names or [None])) in OBJECTS
        number = OBJECTS.index((row["category_name"], *(names or [None])))
        assert nusc.get("visibility", row["visibility_token"])["level"] == levels[number % 4]
        assert row["size"] == (
            [1.9, 4.5, 1.7] if row["category_name"].startswith("vehicle") else [0.7, 0.6, 1.2]
        )


def test_images_keep_their_colours(nusc: Any, tmp_path: Path, recorder: Recorder) -> None:
    import simplejpeg

    recording = recorder("scene-0061", 0, keyframes=1, image_size=(16, 24), palette="natural")
    red = np.zeros((16, 24, 3), dtype=np.uint8)
    red[..., 0] = 200
    recording = changed(
        recording,
        0,
        images=lambda keyframe: tuple(dataclasses.replace(image, image=red) for image in keyframe.images),
    )
    write_scene(tmp_path, recording, seed=0)
    written = next((tmp_path / "samples/CAM_BACK").iterdir())
    decoded = simplejpeg.decode_jpeg(written.read_bytes(), "RGB")
    assert np.abs(decoded.astype(int) - red).max() <= 4


def test_velocities_are_those_of_the_objects(nusc: Any) -> None:
    for annotation in nusc.sample_annotation:
        expected = [3.0, 1.0, 0.0] if annotation["category_name"] == "vehicle.car" else [0.0, 0.0, 0.0]
        np.testing.assert_allclose(nusc.box_velocity(annotation["token"]), expected, atol=1e-5)


def test_map_lies_under_the_drive(nusc: Any) -> None:
    record = nusc.get("map", nusc.get("log", nusc.scene[0]["log_token"])["map_token"])
    mask = record["mask"]
    assert mask.mask().shape == (400, 600)
    # The mask is drivable for recorded y of -15..-5; the writer moves the corner (-20, -30) to the origin.
    ys = np.array([14.0, 16.0, 24.0, 26.0])
    assert mask.is_on_mask(np.full(4, 30.0), ys).tolist() == [False, True, True, False]
    pose = nusc.get("ego_pose", nusc.sample[0]["data"]["LIDAR_TOP"])
    np.testing.assert_allclose(pose["translation"], [24.0, 23.0, 0.0])
    assert mask.is_on_mask(*pose["translation"][:2]).all()


@pytest.mark.parametrize("metres", [0.1, 0.2, 0.25, 0.05, 0.28])
def test_rasterized_map_keeps_area_and_orientation(metres: float) -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[:10, :20] = True  # upper left: smallest x, largest y
    raster = rasterize_map(GroundMap(mask, np.zeros(2), metres))
    assert raster.shape == (round(40 * metres / 0.1), round(60 * metres / 0.1))
    assert raster.dtype == np.uint8
    assert set(np.unique(raster)) == {0, 255}
    assert raster[0, 0] == 255
    assert raster[-1, 0] == raster[0, -1] == 0
    assert (raster == 255).mean() == pytest.approx(mask.mean(), abs=0.01)


def test_lidarseg_evaluator_gives_one_for_perfect_predictions(
    nusc: Any, fake_world: Path, tmp_path: Path
) -> None:
    from nuscenes.eval.lidarseg.evaluate import LidarSegEval
    from nuscenes.eval.lidarseg.utils import get_samples_in_eval_set

    folder = tmp_path / "lidarseg" / "mini_val"
    folder.mkdir(parents=True)
    tokens = get_samples_in_eval_set(nusc, "mini_val")
    assert len(tokens) == 2 * 4
    for token in tokens:
        scan = nusc.get("sample", token)["data"]["LIDAR_TOP"]
        raw = np.fromfile(fake_world / nusc.get("lidarseg", scan)["filename"], dtype=np.uint8)
        np.maximum(RAW_TO_CLASS[raw], 1).tofile(folder / f"{scan}_lidarseg.bin")
    result = LidarSegEval(nusc, str(tmp_path), "mini_val").evaluate()
    assert result["miou"] == 1.0
    assert sum(value == 1.0 for value in result["iou_per_class"].values()) == 16


def test_detection_evaluator_gives_one_for_the_annotations(nusc: Any, tmp_path: Path) -> None:
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval
    from nuscenes.eval.detection.utils import category_to_detection_name

    results: dict[str, list[dict[str, Any]]] = {}
    for sample in nusc.sample:
        scene = nusc.get("scene", sample["scene_token"])["name"]
        if scene not in {"scene-0103", "scene-0916"}:
            continue
        rows = [nusc.get("sample_annotation", token) for token in sample["anns"]]
        results[sample["token"]] = [
            {
                "sample_token": sample["token"],
                "translation": row["translation"],
                "size": row["size"],
                "rotation": row["rotation"],
                "velocity": nusc.box_velocity(row["token"])[:2].tolist(),
                "detection_name": category_to_detection_name(row["category_name"]),
                "detection_score": 1.0,
                "attribute_name": nusc.get("attribute", row["attribute_tokens"][0])["name"]
                if row["attribute_tokens"]
                else "",
            }
            for row in rows
        ]
    meta = dict.fromkeys(("use_camera", "use_lidar", "use_radar", "use_map", "use_external"), False)
    (tmp_path / "result.json").write_text(json.dumps({"meta": meta, "results": results}))
    evaluation = DetectionEval(
        nusc,
        config_factory("detection_cvpr_2019"),
        str(tmp_path / "result.json"),
        "mini_val",
        str(tmp_path / "out"),
        verbose=False,
    )
    metrics = evaluation.evaluate()[0]
    assert metrics.mean_ap == pytest.approx(1.0, abs=1e-6)
    assert max(metrics.tp_errors.values()) == pytest.approx(0.0, abs=1e-4)


def test_same_recording_gives_the_same_bytes(
    recorder: Recorder, tmp_path: Path, tree_digest: Callable[[Path], str]
) -> None:
    digests = []
    for number, seed in enumerate([5, 5, 6]):
        recording = recorder("scene-0061", 3, keyframes=2, image_size=(16, 24), palette="natural")
        root = tmp_path / str(number)
        write_tables(root, [write_scene(root, recording, seed=seed)], seed=seed)
        digests.append(tree_digest(root))
    assert digests[0] == digests[1] != digests[2]


def test_keyframes_are_taken_one_at_a_time(recording: SceneRecording, tmp_path: Path) -> None:
    written = []
    write_scene(
        tmp_path,
        recording,
        seed=0,
        on_keyframe=lambda: written.append(len(list((tmp_path / "samples/LIDAR_TOP").iterdir()))),
    )
    assert written == [1, 2]


def test_a_scene_without_keyframes_is_refused(recording: SceneRecording, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one keyframe"):
        write_scene(tmp_path, dataclasses.replace(recording, keyframes=[]), seed=0)


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        (
            "lidar",
            lambda k: dataclasses.replace(k.lidar, points=k.lidar.points[:, :4]),
            r"\(N, 5\) float32",
        ),
        ("lidar", lambda k: dataclasses.replace(k.lidar, labels=k.lidar.labels[:-1]), "uint8"),
        ("lidar", lambda k: dataclasses.replace(k.lidar, labels=k.lidar.labels + np.uint8(32)), "0..31"),
        ("lidar", lambda k: dataclasses.replace(k.lidar, timestamp_us=1), "must grow"),
        ("images", lambda k: k.images[:-1], "one image of each camera"),
        (
            "images",
            lambda k: (*k.images[:-1], dataclasses.replace(k.images[-1], image=k.images[-1].image[1:])),
            "CAM_FRONT_LEFT must be",
        ),
        ("boxes", lambda k: (dataclasses.replace(k.boxes[0], category="car"),), "'car' is not a nuScenes"),
        (
            "boxes",
            lambda k: (dataclasses.replace(k.boxes[0], attribute="moving"),),
            "'moving' is no nuScenes",
        ),
        ("boxes", lambda k: (dataclasses.replace(k.boxes[0], visibility=0),), "visibility must be 1..4"),
        ("boxes", lambda k: (k.boxes[0], k.boxes[0]), "stands there twice"),
        (
            "boxes",
            lambda k: (dataclasses.replace(k.boxes[0], category="vehicle.truck"),),
            "keeps its category",
        ),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused(
    recording: SceneRecording, tmp_path: Path, field: str, change: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_scene(tmp_path, changed(recording, 1, **{field: change}), seed=0)
