"""Everything that moves: cars, two-wheelers, buses and lorries in their lanes, people on foot."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic import riders
from lidardistill.synthetic.cars import head_on
from lidardistill.synthetic.course import Motion
from lidardistill.synthetic.population import ADULT, BICYCLE, BUS, CAR, MOTORCYCLE, TRUCK, Stage, make
from lidardistill.synthetic.street import KERB_M


def traffic(stage: Stage, travel: float, duration_s: float) -> None:
    """Adds the moving objects; none of them meets another or the ego car during the drive."""
    rng, p, kit = stage.rng, stage.profile, stage.kit
    speed = stage.ego.speed

    def two_wheeler(category: str, motion: Motion) -> None:
        mesh = head_on(riders.motorcycle(kit, True) if category == MOTORCYCLE else riders.bicycle(kit, True))
        stage.drive(category, "cycle.with_rider", mesh, motion)

    # Ahead of and behind the ego car, in its lane.
    ahead = float(rng.uniform(13, 22))
    lead = str(rng.choice([CAR, MOTORCYCLE, BUS, TRUCK], p=[0.45, 0.25, 0.15, 0.15]))
    motion = Motion(
        ahead if lead in (CAR, MOTORCYCLE) else ahead + 8, stage.ego.d, 0.0, speed, gain=stage.ego.gain
    )
    if lead == MOTORCYCLE:
        two_wheeler(lead, motion)
    else:
        stage.drive(lead, "vehicle.moving", make(stage, lead), motion)
    if rng.random() < 0.7:
        stage.drive(
            CAR,
            "vehicle.moving",
            make(stage, CAR),
            Motion(-float(rng.uniform(12, 20)), stage.ego.d, 0.0, speed, gain=stage.ego.gain),
        )

    # Other lanes. Lane k of a side holds a queue with one speed, so that nobody catches up.
    for side in (0, 1):
        for lane in range(p.lanes):
            d = (-1 if side == 0 else 1) * p.lane_centre(lane)
            if side == 0 and abs(d - stage.ego.d) < 1.0:
                continue
            rate = (1 if side == 0 else -1) * float(rng.uniform(4, 9))
            waits = side == 1 and rng.random() < 0.25
            s = float(rng.uniform(-25, -5))
            end = travel + 50 if side == 0 else travel + 30 - rate * duration_s * 0.6
            while s < end:
                category = str(
                    rng.choice([CAR, BUS, TRUCK, MOTORCYCLE, BICYCLE], p=[0.50, 0.13, 0.14, 0.13, 0.10])
                )
                half = {CAR: 2.5, BUS: 6.3, TRUCK: 4.5, MOTORCYCLE: 1.2, BICYCLE: 1.0}[category]
                s += half
                turn = np.pi if side == 1 and waits else 0.0
                motion = Motion(s, d + float(rng.normal(0, 0.1)), 0.0, 0.0 if waits else rate, turn=turn)
                blocked = waits and abs(s - stage.side_street) < half + 7
                if not blocked:
                    if category in (MOTORCYCLE, BICYCLE):
                        two_wheeler(category, motion)
                    else:
                        attribute = "vehicle.stopped" if waits else "vehicle.moving"
                        stage.drive(category, attribute, make(stage, category), motion)
                s += half + (float(rng.uniform(2, 5)) if waits else float(rng.uniform(9, 24)))

    # Cyclists at the edge of the carriageway, with and against the ego car.
    for side in (0, 1):
        d = (-1 if side == 0 else 1) * (p.drive_half() - 0.55)
        if abs(d - stage.ego.d) < 1.3 + 0.35:
            d = (-1 if side == 0 else 1) * (p.drive_half() - 0.40)
        if p.lanes == 1 and side == 0:
            continue
        if p.lanes == 1:
            continue
        two_wheeler(
            BICYCLE,
            Motion(
                float(rng.uniform(4, 14)),
                d,
                0.0,
                (1 if side == 0 else -1) * float(rng.uniform(3.0, 5.5)),
                sway=0.1,
            ),
        )
    # Cyclists and scooters on the pavement or verge side keep rare classes near every drive.
    for k in range(2):
        side = int(rng.integers(0, 2))
        d = (-1 if side == 0 else 1) * float(rng.uniform(p.walk_inner(side) + 0.4, p.back(side) - 0.6))
        two_wheeler(
            BICYCLE,
            Motion(
                float(rng.uniform(5, travel)),
                d,
                KERB_M,
                float(rng.choice([-1, 1])) * float(rng.uniform(2.0, 4.0)),
                sway=0.1,
            ),
        )

    # People walking along, and one crossing.
    for s in np.arange(-5.0, travel + 25.0, 9.0):
        side = int(rng.integers(0, 2))
        d = (-1 if side == 0 else 1) * float(rng.uniform(p.walk_inner(side) + 0.4, p.back(side) - 0.5))
        rate = float(rng.choice([-1, 1])) * float(rng.uniform(0.9, 1.6))
        at = float(s + rng.uniform(0, 8))
        for k in range(int(rng.choice([1, 2], p=[0.7, 0.3]))):
            motion = Motion(at + 0.3 * k, d + 0.6 * k * (1 if d < 0 else -1), KERB_M, rate)
            stage.drive(ADULT, "pedestrian.moving", riders.pedestrian(kit, True), motion)
    crossing = stage.side_street + (-5.5 if rng.random() < 0.5 else 6.0)
    start = float(rng.choice([-1, 1]))
    for k in range(2):
        edge = p.kerb(0 if start < 0 else 1)
        rate = -start * float(rng.uniform(0.9, 1.3))
        # They set out when the ego car is past or still far away.
        reaches = (crossing - stage.ego.s) / max(speed, 1.0)
        delay = (
            reaches + 1.0
            if reaches < 0.6 * duration_s
            else -abs(stage.ego.d - start * edge) / abs(rate) - 1.0 + reaches
        )
        stage.drive(
            ADULT,
            "pedestrian.moving",
            riders.pedestrian(kit, True),
            Motion(crossing + 0.8 * k, start * edge - rate * delay, 0.0 if delay < 0 else 0.02, 0.0, rate),
        )
