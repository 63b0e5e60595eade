"""Everything that moves: cars, two-wheelers, buses and lorries in their lanes, people on foot."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.ground.ground import SIDE_HALF_M, sign_of
from lidardistill.synthetic.ground.street import KERB_M, Profile
from lidardistill.synthetic.place.course import Motion
from lidardistill.synthetic.place.stage import ADULT, BICYCLE, BUS, CAR, MOTORCYCLE, TRUCK, Stage, make
from lidardistill.synthetic.things import riders
from lidardistill.synthetic.things.cars import head_on

WALKWAY_M = 1.2
"""Width of the part of a pavement that stays clear for people on foot."""

_HALF_LENGTH_M = {CAR: 2.6, BUS: 6.3, TRUCK: 4.5, MOTORCYCLE: 1.2, BICYCLE: 1.0}


def walkway(profile: Profile, side: int) -> float:
    """|d| of the middle of the clear part of a pavement."""
    return 0.5 * (profile.walk_inner(side) + profile.back(side))


def traffic(stage: Stage, travel: float, duration_s: float) -> None:
    """Adds the moving objects; none of them meets another, a standing one or the ego car during the drive."""
    rng, p = stage.rng, stage.profile
    speed = stage.ego.speed

    # Ahead of and behind the ego car, in its lane and at its speed.
    ahead = float(rng.uniform(13, 22))
    lead = str(rng.choice([CAR, MOTORCYCLE, BUS, TRUCK], p=[0.45, 0.25, 0.15, 0.15]))
    s = ahead if lead in (CAR, MOTORCYCLE) else ahead + 8
    _drive(stage, lead, Motion(s, stage.ego.d, 0.0, speed, gain=stage.ego.gain))
    behind = -float(rng.uniform(12, 20))
    _drive(stage, CAR, Motion(behind, stage.ego.d, 0.0, speed, gain=stage.ego.gain))

    # Each other lane holds a queue with one speed, so that nobody catches up.
    for side in (0, 1):
        for lane in range(p.lanes):
            d = sign_of(side) * p.lane_centre(lane)
            if abs(d - stage.ego.d) > 1.0:
                _queue(stage, side, d, travel, duration_s)
    _side_street(stage)

    # People on foot: two rows on each pavement, one each way and each with one pace.
    gap = (stage.side_street - SIDE_HALF_M, stage.side_street + SIDE_HALF_M)
    for side in (0, 1):
        for way in (-1, 1):
            pace = way * float(rng.uniform(0.9, 1.6))
            d = sign_of(side) * walkway(p, side) + 0.32 * way
            s = float(rng.uniform(-15, 0))
            while s < travel + 25:
                motion = Motion(s, d, KERB_M, pace, step_down=gap)
                stage.drive(ADULT, "pedestrian.moving", riders.pedestrian(stage.kit, True), motion)
                s += float(rng.choice([1.1, 14.0], p=[0.25, 0.75])) + float(rng.uniform(0, 14))


def _drive(stage: Stage, category: str, motion: Motion, attribute: str = "vehicle.moving") -> None:
    if category in (MOTORCYCLE, BICYCLE):
        build = riders.motorcycle if category == MOTORCYCLE else riders.bicycle
        stage.drive(category, "cycle.with_rider", head_on(build(stage.kit, True)), motion)
    else:
        stage.drive(category, attribute, make(stage, category), motion)


def _queue(stage: Stage, side: int, d: float, travel: float, duration_s: float) -> None:
    """One lane of traffic, driving or waiting; every kind of vehicle turns up."""
    rng = stage.rng
    waits = side == 1 and rng.random() < 0.25
    rate = 0.0 if waits else -float(rng.uniform(4, 9))
    if side == 0:
        rate = stage.ego.speed + float(rng.choice([-4.0, -3.0, 3.0]))
    deck: list[str] = []
    s = float(rng.uniform(-30, -8))
    end = travel + (45 if waits or side == 0 else 35 - 0.6 * rate * duration_s)
    while s < end:
        if not deck:
            # Something long beside the ego car and as fast would hide one side of the street all the way.
            kinds = [CAR, BICYCLE, MOTORCYCLE, CAR, CAR] + ([BUS, TRUCK] if side == 1 else [])
            deck = [kinds[k] for k in rng.permutation(len(kinds))]
        category = deck.pop()
        half = _HALF_LENGTH_M[category]
        s += half
        if not (waits and abs(s - stage.side_street) < half + SIDE_HALF_M + 5):
            if waits:
                if category in (MOTORCYCLE, BICYCLE):
                    build = riders.motorcycle if category == MOTORCYCLE else riders.bicycle
                    stage.park(
                        category, "cycle.with_rider", head_on(build(stage.kit, True)), s, d, 0.0, np.pi
                    )
                else:
                    stage.park(category, "vehicle.stopped", make(stage, category), s, d, 0.0, np.pi)
            else:
                _drive(stage, category, Motion(s, d + float(rng.normal(0, 0.1)), 0.0, rate))
        s += half + (float(rng.uniform(1.5, 4)) if waits else float(rng.uniform(8, 22)))


def _side_street(stage: Stage) -> None:
    """Cars that wait to turn out of the side street, and some parked along it."""
    rng, p = stage.rng, stage.profile
    for side in (0, 1):
        sign = sign_of(side)
        if rng.random() < 0.6:
            category = str(rng.choice([CAR, MOTORCYCLE, TRUCK], p=[0.7, 0.15, 0.15]))
            # It keeps to the right of the side street, nose towards the main street.
            s = stage.side_street + 0.5 * SIDE_HALF_M * sign
            d = sign * (p.back(side) + 1.0 + _HALF_LENGTH_M[category])
            yaw = -sign * 0.5 * np.pi
            if category == MOTORCYCLE:
                mesh = head_on(riders.motorcycle(stage.kit, True))
                stage.park(category, "cycle.with_rider", mesh, s, d, 0.0, yaw)
            else:
                stage.park(category, "vehicle.stopped", make(stage, category), s, d, 0.0, yaw)
