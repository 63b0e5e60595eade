import numpy as np
import pytest

from lidardistill.geometry.camera import check_cam2img, intrinsics_to_cam2img, kitti_calibration, project

INTRINSICS = np.array([[1000.0, 0.0, 800.0], [0.0, 500.0, 450.0], [0.0, 0.0, 1.0]])


def test_project_by_hand():
    cam2img = intrinsics_to_cam2img(INTRINSICS)
    uv, depth = project(np.array([[1.0, 2.0, 10.0], [0.0, 0.0, 3.0]]), cam2img)
    np.testing.assert_allclose(uv, [[900, 550], [800, 450]])
    np.testing.assert_array_equal(depth, [10, 3])


def test_what_is_behind_has_no_pixel():
    uv, depth = project(np.array([[1.0, 2.0, -10.0], [1.0, 1.0, 0.0]]), intrinsics_to_cam2img(INTRINSICS))
    assert np.isnan(uv).all()
    np.testing.assert_array_equal(depth, [-10, 0])


def test_project_with_a_lens_agrees_with_opencv(rng):
    cv2 = pytest.importorskip("cv2")
    points = rng.uniform([-5, -5, 8], [5, 5, 40], size=(100, 3))
    distortion = [-0.37, 0.2, 0.002, 0.001, -0.07]
    uv, _ = project(points, intrinsics_to_cam2img(INTRINSICS), distortion)
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), INTRINSICS, np.array(distortion))
    np.testing.assert_allclose(uv, expected[:, 0], atol=1e-9)


def test_beyond_the_fold_there_is_no_pixel():
    # x = 1.2: the polynomial r - 0.5 r^3 would put it back at 0.336, well inside the image.
    uv, _ = project(
        np.array([[1.2, 0.0, 1.0], [0.3, 0.0, 1.0]]), intrinsics_to_cam2img(INTRINSICS), [-0.5, 0, 0, 0]
    )
    assert np.isnan(uv[0]).all()
    assert np.isfinite(uv[1]).all()


def test_intrinsics_in_batches():
    batch = intrinsics_to_cam2img(np.stack([INTRINSICS, INTRINSICS]))
    assert batch.shape == (2, 4, 4)
    np.testing.assert_array_equal(batch[1], intrinsics_to_cam2img(INTRINSICS))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (INTRINSICS.T, "transposed"),
        (-INTRINSICS, "focal"),
        (INTRINSICS * np.nan, "NaN"),
        (INTRINSICS[:2], r"\(\.\.\., 3, 3\)"),
    ],
)
def test_bad_intrinsics(matrix, words):
    with pytest.raises(ValueError, match=words):
        intrinsics_to_cam2img(matrix)


def test_bad_arguments_of_project():
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        project(np.zeros((2, 4)), np.eye(4))
    with pytest.raises(ValueError, match="cam2img"):
        check_cam2img(np.eye(3), "cam2img")
    shifted = intrinsics_to_cam2img(INTRINSICS)
    shifted[0, 3] = 5.0
    with pytest.raises(ValueError, match="move the offset into lidar2cam"):
        project(np.ones((2, 3)), shifted, [0.1, 0, 0, 0])


def kitti_product(path):
    """P2 @ R0_rect @ Tr_velo_to_cam, straight from the file."""
    rows = {
        line.split()[0]: np.array(line.split()[1:], dtype=float)
        for line in path.read_text().split("\n")
        if line
    }
    rectify, velo = np.eye(4), np.eye(4)
    rectify[:3, :3] = rows["R0_rect:"].reshape(3, 3)
    velo[:3] = rows["Tr_velo_to_cam:"].reshape(3, 4)
    return rows["P2:"].reshape(3, 4) @ rectify @ velo


def test_kitti_chain_is_the_product_of_the_devkit(kitti_one):
    path = kitti_one / "training" / "calib" / "000008.txt"
    lidar2cam, cam2img = kitti_calibration(path)
    np.testing.assert_allclose((cam2img @ lidar2cam)[:3], kitti_product(path), rtol=1e-12, atol=1e-9)
    assert cam2img[0, 0] == 721.5377
    # The left colour camera looks along the velodyne's x, from 27 cm in front of it, 6 cm to its left and
    # below it.
    np.testing.assert_allclose(np.linalg.inv(lidar2cam)[:3, 2], [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(np.linalg.inv(lidar2cam)[:3, 3], [0.27, 0.06, -0.08], atol=0.02)


CALIBRATION = """P2: 700 0 600 35 0 700 170 0 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.3
"""


def test_odometry_files_are_already_rectified(tmp_path):
    objects, odometry = tmp_path / "object.txt", tmp_path / "odometry.txt"
    objects.write_text(CALIBRATION)
    lines = CALIBRATION.replace("Tr_velo_to_cam", "Tr").splitlines()
    odometry.write_text("\n".join(line for line in lines if "R0_rect" not in line))
    np.testing.assert_array_equal(kitti_calibration(objects)[0], kitti_calibration(odometry)[0])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("R0_rect", "R1_rect", "'R0_rect:'"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 2", "not a rigid motion"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0", "needs 9 numbers, got 3"),
        ("700 0 600", "700 none 600", "other than numbers"),
    ],
)
def test_a_damaged_kitti_calibration_names_the_file(tmp_path, old, new, words):
    path = tmp_path / "000042.txt"
    path.write_text(CALIBRATION.replace(old, new))
    with pytest.raises(ValueError, match=words) as error:
        kitti_calibration(path)
    assert "000042.txt" in str(error.value)


def test_no_kitti_calibration(tmp_path):
    with pytest.raises(FileNotFoundError, match="training/calib"):
        kitti_calibration(tmp_path / "000042.txt")
