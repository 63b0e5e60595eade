"""Corruptions: labels follow their points, every draw follows from the seed, and the physics has a slow
twin."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from scipy.integrate import quad

from lidardistill.corruptions import weather as corrupt_weather
from lidardistill.corruptions.attack import ABOVE_GROUND_M, CAR_SIZE_M, spoofing, visible_surface
from lidardistill.corruptions.scan import CorruptedScan
from lidardistill.corruptions.sensor import (
    HIGH_DEG,
    LOW_DEG,
    beam_missing,
    cross_sensor,
    crosstalk,
    incomplete_echo,
    motion_blur,
    rings_by_elevation,
)
from lidardistill.corruptions.table import (
    ATTACKS,
    SEVERITIES,
    Corruption,
    check_names,
    corrupt,
    scan_generator,
)
from lidardistill.corruptions.weather import flakes, fog, fog_echo, snow
from lidardistill.datasets.nuscenes.source import NuScenesIndex

NAMES = tuple(SEVERITIES)


@pytest.fixture
def scan(rng: np.random.Generator) -> np.ndarray:
    """(6400, 5) float32: 32 beams of 200 points, some of them on the ground 1.8 m below the sensor; ring in
    column 4."""
    elevation = np.radians(np.tile(np.linspace(LOW_DEG, HIGH_DEG, 32), 200))
    azimuth = np.repeat(np.linspace(-np.pi, np.pi, 200, endpoint=False), 32) + 1e-3
    distance = rng.uniform(3, 70, 6400)
    distance = np.where(elevation < -0.05, np.minimum(distance, -1.8 / np.sin(elevation)), distance)
    points = np.stack(
        [
            distance * np.cos(elevation) * np.cos(azimuth),
            distance * np.cos(elevation) * np.sin(azimuth),
            distance * np.sin(elevation),
            rng.integers(0, 120, 6400),
            np.tile(np.arange(32), 200),
        ],
        axis=1,
    )
    return points.astype(np.float32)


def vehicles(points: np.ndarray, row: int = 0) -> np.ndarray:
    return points[:, 0] > 20


def apply(points: np.ndarray, name: str, severity: int, seed: int = 0, row: int = 7) -> CorruptedScan:
    generator = scan_generator(seed, row, name, severity)
    rings = points[:, 4].astype(np.int64)
    return corrupt(points, name, severity, generator, rings=rings, vehicle_mask=vehicles(points))


def range_of(points: np.ndarray) -> np.ndarray:
    return np.sqrt((points[:, :3].astype(np.float64) ** 2).sum(axis=1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [1, 2, 3])
def test_labels_follow_their_points(scan, name, severity):
    before = scan.copy()
    out = apply(scan, name, severity)
    np.testing.assert_array_equal(scan, before)
    count = len(out.points)
    assert (out.points.dtype, out.points.shape) == (np.float32, (count, 5))
    assert np.isfinite(out.points).all()
    assert (out.source.shape, out.source.dtype, out.injected.dtype) == ((count,), np.int64, np.bool_)
    assert (out.fake_box is not None) == (name in ATTACKS)
    own = ~out.injected
    assert len(np.unique(out.source[own])) == own.sum()
    moved = np.abs(out.points[own, :3] - scan[out.source[own], :3]).max(initial=0.0)
    assert moved < (2.0 if name == "motion-blur" else 1e-6)
    if name not in ATTACKS:
        np.testing.assert_array_equal(out.points[:, 4], scan[out.source, 4])
    raw = np.arange(len(scan), dtype=np.int64).astype(np.uint8) % 31 + 1
    labels = np.where(out.origin() < 0, 99, raw[out.origin()])
    assert labels.dtype == np.uint8
    assert (labels[out.injected] == 99).all()
    np.testing.assert_array_equal(labels[own], raw[out.source[own]])


@pytest.mark.parametrize("name", NAMES)
def test_the_randomness_is_a_function_of_seed_row_name_and_severity(scan, name):
    first, again = apply(scan, name, 2), apply(scan, name, 2)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.source, again.source)
    if name == "cross-sensor":
        return  # nothing is drawn
    for other in (apply(scan, name, 2, seed=1), apply(scan, name, 2, row=8), apply(scan, name, 1)):
        assert other.points.shape != first.points.shape or not np.array_equal(other.points, first.points)
    draws = {scan_generator(0, 7, n, 2).random() for n in NAMES}
    assert len(draws) == len(NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("motion-blur", "snow")])
def test_severities_get_worse(scan, name):
    def damage(severity: int) -> int:
        out = apply(scan, name, severity)
        return int(out.injected.sum()) + len(scan) - int((~out.injected).sum())

    assert damage(1) < damage(2) < damage(3)


def test_snow_and_motion_blur_get_worse(scan):
    def dimmed(severity: int) -> float:
        out = apply(scan, "snow", severity)
        kept = ~out.injected
        return float((scan[out.source[kept], 3] - out.points[kept, 3]).sum())

    assert dimmed(1) < dimmed(2) < dimmed(3)
    spread = []
    for severity in (1, 2, 3):
        shifts = [
            (apply(scan, "motion-blur", severity, seed=s).points - scan)[:, :3].mean(0) for s in range(60)
        ]
        spread.append(float(np.std(shifts)))
        assert spread[-1] == pytest.approx(SEVERITIES["motion-blur"][severity - 1]["jitter_m"], rel=0.2)


# ---- weather


@pytest.mark.parametrize("alpha", [0.0, 0.03])
def test_fog_echo_is_the_largest_received_power_up_to_the_target(alpha):
    def received(at_m: float) -> float:
        def power(time_s: float) -> float:
            r = at_m - 0.5 * corrupt_weather.LIGHT_M_S * time_s
            seen = min(max((r - 0.9) / 0.1, 0.0), 1.0)
            pulse = math.sin(0.5 * math.pi * time_s / corrupt_weather.FOG_PULSE_S) ** 2
            return pulse * math.exp(-2 * alpha * r) * seen / r**2 if seen else 0.0

        ends = [2 * (at_m - r) / corrupt_weather.LIGHT_M_S * 1e8 for r in (0.9, 1.0)]
        inside = sorted(t for t in ends if 0 < t < 4)
        return quad(lambda t: power(t * 1e-8), 0, 4, points=inside or None, limit=200)[0] * 1e-8

    place, strength = fog_echo(alpha)
    grid = np.arange(0.0, 8.0, 0.1)
    slow = [received(float(r)) for r in grid]
    for target in (5, 12, 30, 46, 60, 79):
        best = int(np.argmax(slow[: target + 1]))
        assert strength[target] == pytest.approx(slow[best], rel=2e-3, abs=1e-15)
        assert place[target] == pytest.approx(grid[best] if slow[best] else 0.0, abs=0.11)
    assert strength[-1] == pytest.approx(max(slow), rel=2e-3)


def test_fog_against_a_loop_over_points(scan):
    alpha, beta = 0.02, 0.05
    out = fog(scan, np.random.default_rng(3), attenuation_per_m=alpha, backscatter=beta)
    place, strength = fog_echo(alpha)
    scatter = 10 * np.random.default_rng(3).beta(2, 20, size=len(scan))
    clutter = 0
    for i in range(0, len(scan), 7):
        r0 = float(range_of(scan[i : i + 1])[0])
        cell = min(int(r0 / 0.1), len(strength) - 1)
        hard = scan[i, 3] * math.exp(-2 * alpha * r0)
        soft = min(scan[i, 3] * r0**2 * beta / (1e-6 / math.pi) * strength[cell], 255.0)
        if soft > hard:
            clutter += 1
            at = min(place[cell] + scatter[i], r0)
            np.testing.assert_allclose(out.points[i, :3], scan[i, :3] * at / r0, rtol=1e-4, atol=1e-5)
        assert out.injected[i] == (soft > hard)
        assert out.points[i, 3] == pytest.approx(max(soft, hard), rel=1e-4, abs=1e-4)
    assert 50 < clutter < 600
    # What real fog sends back is far less than Robo3D's.
    real = fog(scan, np.random.default_rng(3), attenuation_per_m=alpha)
    assert real.injected.sum() < out.injected.sum() / 3


def test_clutter_never_lies_behind_the_object(scan):
    near = scan.copy()
    near[:, :3] *= (6.0 / range_of(scan))[:, None]
    out = fog(near, np.random.default_rng(0), attenuation_per_m=0.06, backscatter=5.0)
    assert out.injected.mean() > 0.9
    assert range_of(out.points).max() < 6.001
    assert (range_of(out.points) > 5.999).any()  # where the scatter reaches further


def test_clear_air_changes_nothing(scan):
    out = fog(scan, np.random.default_rng(0), attenuation_per_m=0.0)
    np.testing.assert_array_equal(out.points, scan)
    assert not out.injected.any()


def test_flakes_cover_the_share_of_the_air_that_falls():
    for rate, velocity in ((0.5, 2.0), (2.5, 1.6)):
        per_m2, mean_m = flakes(rate, velocity)
        diameters = np.random.default_rng(0).exponential(mean_m, 400_000)
        covered = per_m2 * (np.pi * diameters**2 / 4).mean()
        # millimetres of water an hour, of a tenth of water's density, falling at `velocity`
        assert covered == pytest.approx(rate * 1e-3 / 3600 / 0.1 / velocity, rel=0.02)
    assert flakes(2.5, 1.6)[1] > flakes(0.5, 2.0)[1]


def test_snow_against_a_loop_over_beams(scan):
    settings = {"snowfall_mm_h": 2.5, "terminal_velocity_m_s": 1.6}
    out = snow(scan, np.random.default_rng(5), **settings)
    draws = np.random.default_rng(5)
    per_m2, mean_m = flakes(**settings)
    distance = range_of(scan)
    count = draws.poisson(per_m2 * 0.5 * 0.003 * distance**2)
    uniform, size = draws.random(count.sum()), draws.exponential(mean_m, count.sum())
    bands: dict[int, list[float]] = {}
    for r, i in zip(distance, scan[:, 3], strict=True):
        bands.setdefault(int(r / 10), []).append(float(i))
    expected, start = [], 0
    for i in range(len(scan)):
        open_share, strongest, at = 1.0, 0.0, 0.0
        for k in range(start, start + count[i]):
            r = distance[i] * math.sqrt(uniform[k])
            part = min(size[k] / (r * 0.003), 1.0)
            open_share -= part
            echo = 0.9 * 255 * part * min(max((r - 0.9) / 0.1, 0.0), 1.0) / max(r, 0.9) ** 2
            if echo > strongest:
                strongest, at = echo, r
        start += count[i]
        hard = float(scan[i, 3]) * max(open_share, 0.0)
        if strongest > hard:
            expected.append((i, True, at, min(strongest, 255.0)))
        elif hard >= 0.7 * np.percentile(bands[int(distance[i] / 10)], 1):
            expected.append((i, False, distance[i], hard))
    source, injected, at, intensity = (np.array(column) for column in zip(*expected, strict=True))
    np.testing.assert_array_equal(out.source, source)
    np.testing.assert_array_equal(out.injected, injected)
    np.testing.assert_allclose(range_of(out.points), at, rtol=1e-4)
    np.testing.assert_allclose(out.points[:, 3], intensity, rtol=1e-4, atol=1e-4)
    assert 10 < injected.sum() < 400
    assert len(source) < len(scan)


# ---- sensor


def test_rings_of_evenly_spaced_beams(scan):
    np.testing.assert_array_equal(rings_by_elevation(scan), scan[:, 4].astype(np.int64))
    shifted = scan.copy()
    shifted[:, 2] += 500
    assert (rings_by_elevation(shifted) == 31).all()


def test_rings_of_the_real_keyframe(nuscenes_one):
    path = NuScenesIndex.open(nuscenes_one, "v1.0-mini").lidar_path(0)
    points = np.fromfile(path, dtype="<f4").reshape(-1, 5)
    far = range_of(points) > 3
    difference = np.abs(rings_by_elevation(points) - points[:, 4])[far]
    assert difference.max() <= 2
    assert (difference == 0).mean() > 0.85


@pytest.mark.parametrize("missing", [0, 8, 32])
def test_beams_are_missing_as_a_whole(scan, missing):
    rings = scan[:, 4].astype(np.int64)
    out = beam_missing(scan, np.random.default_rng(0), rings, num_missing=missing)
    left, counts = np.unique(out.points[:, 4], return_counts=True)
    assert len(left) == 32 - missing
    assert (counts == 200).all()
    assert not out.injected.any()


def test_another_sensor_against_a_loop_over_beams(scan, rng):
    scan = scan[rng.permutation(len(scan))]
    out = cross_sensor(scan, scan[:, 4].astype(np.int64), num_kept=16, every=3)
    expected = []
    for ring in range(0, 32, 2):
        on_ring = [i for i in range(len(scan)) if scan[i, 4] == ring]
        on_ring.sort(key=lambda i: math.atan2(scan[i, 1], scan[i, 0]))
        expected += on_ring[::3]
    assert sorted(expected) == out.source.tolist()
    kept = cross_sensor(scan, scan[:, 4].astype(np.int64), num_kept=24, every=1)
    assert sorted(set(range(32)) - set(kept.points[:, 4].astype(int))) == list(range(3, 32, 4))
    assert len(cross_sensor(scan[:0], np.zeros(0, np.int64), num_kept=8).points) == 0


def test_crosstalk_moves_its_share_by_metres(scan):
    out = crosstalk(scan, np.random.default_rng(0), share=0.12)
    assert out.injected.sum() == int(0.12 * len(scan))
    moved = (out.points - scan)[out.injected, :3]
    assert moved.std() == pytest.approx(3.0, rel=0.1)
    np.testing.assert_array_equal(out.points[~out.injected], scan[~out.injected])
    assert 0 <= out.points[:, 3].min() <= out.points[:, 3].max() <= 255


def test_motion_blur_shifts_the_scan_and_jitters_its_points(scan):
    shift = (motion_blur(scan, np.random.default_rng(0), jitter_m=0.3).points - scan)[:, :3]
    np.testing.assert_allclose(shift.std(axis=0), [0.03, 0.03, 0.015], rtol=0.1)
    assert np.abs(shift.mean(axis=0)).max() > 0.02


def test_the_weakest_echoes_of_vehicles_go(scan):
    mask = vehicles(scan)
    out = incomplete_echo(scan, np.random.default_rng(0), mask, share=0.75)
    gone = np.setdiff1d(np.arange(len(scan)), out.source)
    assert len(gone) == int(0.75 * mask.sum())
    assert mask[gone].all()
    left = out.source[mask[out.source]]
    assert scan[gone, 3].max() <= scan[left, 3].min()
    none = incomplete_echo(scan, np.random.default_rng(0), np.zeros(len(scan), bool), share=0.95)
    np.testing.assert_array_equal(none.points, scan)


# ---- attack


def test_a_feigned_car_stands_free_on_the_ground_ahead(scan):
    def wall(x_min: float) -> np.ndarray:
        """Points 1 m above the ground on one half of what lies ahead."""
        grid = np.mgrid[x_min : x_min + 8 : 0.3, 3:14:0.3].reshape(2, -1).T
        return np.column_stack([grid, np.tile([-0.8, 10.0, 0.0], (len(grid), 1))]).astype(np.float32)

    for seed in range(8):
        for x_min, free in ((-8.0, 1), (0.0, -1)):
            cloud = np.concatenate([scan, wall(x_min)])
            out = spoofing(cloud, np.random.default_rng(seed), num_points=100)
            assert out.injected.sum() == 100
            assert out.injected[-100:].all()
            x, y, z, *size, yaw = out.fake_box
            assert np.sign(x) == free
            assert 7 <= math.hypot(x, y) <= 10
            assert abs(math.degrees(math.atan2(x, y))) <= 30
            assert (tuple(size), yaw) == (CAR_SIZE_M, pytest.approx(math.pi / 2))
            assert z - CAR_SIZE_M[2] / 2 == pytest.approx(-1.8, abs=ABOVE_GROUND_M)
            local = np.abs(out.points[-100:, [1, 0, 2]].astype(np.float64) - [y, x, z])
            beside = np.abs(local - np.array(CAR_SIZE_M) / 2)
            assert (local <= np.array(CAR_SIZE_M) / 2 + 0.1).all()
            assert (beside.min(axis=1) < 0.1).all()


@pytest.mark.parametrize("height", [-40.0, 40.0])
def test_a_car_is_seen_where_the_ground_is_not(scan, height):
    strange = scan.copy()
    strange[:, 2] += height
    out = spoofing(strange, np.random.default_rng(0), num_points=200)
    assert -3 <= out.fake_box[2] - 0.8 <= -0.5
    assert len(np.unique(out.points[-200:, :3], axis=0)) > 100


def test_only_the_sides_that_face_the_sensor_are_cast():
    box = np.array([1.0, 8.0, -1.0, 4.5, 1.9, 1.6, 1.2])
    surface = visible_surface(box)
    assert len(surface) > 200
    turn = np.array([[math.cos(1.2), math.sin(1.2), 0], [-math.sin(1.2), math.cos(1.2), 0], [0, 0, 1]])
    half = box[3:6] / 2

    def inside(points: np.ndarray) -> np.ndarray:
        return (np.abs((points - box[:3]) @ turn.T) < half).all(axis=1)

    assert inside(surface * 1.001).mean() > 0.98  # those at an edge leave again at once
    for share in np.linspace(0, 0.999, 50):
        assert not inside(surface * share).any()


def test_a_small_attack_reuses_no_point_and_a_large_one_may(scan):
    small = spoofing(scan, np.random.default_rng(0), num_points=200).points[-200:, :3]
    assert len(np.unique(small, axis=0)) == 200
    assert len(spoofing(scan, np.random.default_rng(0), num_points=5000).points) == len(scan) + 5000


# ---- names, hook, errors


def test_names():
    assert check_names(["all"]) == NAMES
    assert check_names(["snow", "fog", "snow"]) == ("snow", "fog")
    with pytest.raises(ValueError, match=r"expected all, or some of fog.*got rain"):
        check_names(["fog", "rain"])
    with pytest.raises(ValueError, match="got none"):
        check_names([])


def test_the_hook_of_a_data_set(scan):
    hook = pickle.loads(pickle.dumps(Corruption("incomplete-echo", 2, 3, vehicles)))
    with_lag = np.concatenate([scan[:, :4], np.full((len(scan), 1), 0.25, np.float32)], axis=1)
    out = hook(with_lag, 5)
    assert (out[:, 4] == 0.25).all()
    whole = corrupt(
        with_lag,
        "incomplete-echo",
        2,
        scan_generator(3, 5, "incomplete-echo", 2),
        vehicle_mask=vehicles(scan),
    )
    np.testing.assert_array_equal(out, whole.points)
    # Rings come from the elevation, not from whatever the fifth column holds.
    assert len(Corruption("beam-missing", 3)(with_lag, 5)) == 8 * 200


@pytest.mark.parametrize("name", NAMES)
def test_bad_points(name):
    mask, rings = np.zeros(4, bool), np.zeros(4, np.int64)
    for points in (np.zeros((4, 3), np.float32), np.zeros((4, 5), np.int32)):
        with pytest.raises(ValueError, match=rf"{name}: expected points \(N, 4 or more\)"):
            corrupt(points, name, 1, np.random.default_rng(0), rings=rings, vehicle_mask=mask)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, g: corrupt(p, "rain", 1, g), "expected a corruption out of fog"),
        (lambda p, g: corrupt(p, "fog", 4, g), "a severity of 1..3, got 'fog', 4"),
        (lambda p, g: corrupt(p, "incomplete-echo", 1, g), "needs vehicle_mask"),
        (lambda p, g: Corruption("incomplete-echo", 1), "needs vehicle_mask"),
        (lambda p, g: Corruption("hail", 1), "got hail"),
        (lambda p, g: fog(p, g, attenuation_per_m=-1), "must be 0 or more"),
        (lambda p, g: snow(p, g, snowfall_mm_h=0, terminal_velocity_m_s=1), "must be above 0"),
        (lambda p, g: beam_missing(p, g, p[:, 4].astype(np.int64), num_missing=33), "has points of 32"),
        (
            lambda p, g: beam_missing(p, g, p[:3, 4].astype(np.int64), num_missing=1),
            r"expected rings \(6400,\)",
        ),
        (lambda p, g: cross_sensor(p, p[:, 4], num_kept=8), "of whole numbers"),
        (lambda p, g: cross_sensor(p, p[:, 4].astype(int), num_kept=40), r"expected 1\.\.32 beams"),
        (lambda p, g: incomplete_echo(p, g, p[:, 0], share=0.5), r"vehicle_mask \(6400,\) bool"),
        (lambda p, g: spoofing(p[:0], g, num_points=5), "got 0 and 5"),
    ],
)  # fmt: skip
def test_bad_arguments(scan, call, message):
    with pytest.raises(ValueError, match=message):
        call(scan, np.random.default_rng(0))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("spoofing", "beam-missing")])
def test_an_empty_scan(name):
    empty = np.zeros((0, 4), np.float32)
    out = corrupt(empty, name, 3, np.random.default_rng(0), vehicle_mask=np.zeros(0, bool))
    assert out.points.shape == (0, 4)
    assert out.origin().shape == (0,)
