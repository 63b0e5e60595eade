"""The road's centre line and everything that moves along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class Course:
    """A gently bent line. `s` runs along it in metres, `d` to the left of it; s = 0 lies at the origin."""

    def __init__(
        self, start: float, end: float, heading: float, bends: list[tuple[float, float, float]]
    ) -> None:
        """`bends`: (middle s, width, total turn in radians) of each bend."""
        self._s = np.arange(start, end + 0.5, 0.5)
        turn = np.full(len(self._s), heading)
        for middle, width, angle in bends:
            at_zero = 0.5 * np.tanh(-middle / width)
            turn = turn + angle * (0.5 * np.tanh((self._s - middle) / width) - at_zero)
        self._turn = turn
        x = np.concatenate([[0.0], np.cumsum(0.5 * 0.5 * (np.cos(turn[1:]) + np.cos(turn[:-1])))])
        y = np.concatenate([[0.0], np.cumsum(0.5 * 0.5 * (np.sin(turn[1:]) + np.sin(turn[:-1])))])
        self._x = x - np.interp(0.0, self._s, x)
        self._y = y - np.interp(0.0, self._s, y)

    def at(self, s: np.ndarray | float, d: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World x, y and the line's heading."""
        s, d = np.asarray(s, dtype=np.float64), np.asarray(d, dtype=np.float64)
        turn = np.interp(s, self._s, self._turn)
        return (
            np.interp(s, self._s, self._x) - d * np.sin(turn),
            np.interp(s, self._s, self._y) + d * np.cos(turn),
            turn,
        )


@dataclass(frozen=True)
class Motion:
    """Travel along the course at constant rates; `speed` and `drift` are metres a second along s and d.

    `sway` metres of sine with period `sway_s` are added to d, `gain` (metres a second squared) to the speed.
    Between the two values of s in `step_down` the height is 0: the side street has no pavement.
    """

    s: float
    d: float
    z: float
    speed: float = 0.0
    drift: float = 0.0
    gain: float = 0.0
    sway: float = 0.0
    sway_s: float = 8.0
    phase: float = 0.0
    turn: float = 0.0
    step_down: tuple[float, float] | None = None

    def pose(self, course: Course, time_s: float) -> tuple[np.ndarray, float]:
        """World position (3,) and yaw in radians at a time."""
        t = time_s
        s = self.s + self.speed * t + 0.5 * self.gain * t * t
        rate = 2 * np.pi / self.sway_s
        d = self.d + self.drift * t + self.sway * np.sin(rate * t + self.phase)
        along = self.speed + self.gain * t
        across = self.drift + self.sway * rate * np.cos(rate * t + self.phase)
        x, y, heading = self.course_point(course, s, d)
        steer = float(np.arctan2(across, along)) if abs(along) + abs(across) > 1e-6 else 0.0
        down = self.step_down is not None and self.step_down[0] < s < self.step_down[1]
        return np.array([x, y, 0.0 if down else self.z]), heading + steer + self.turn

    @staticmethod
    def course_point(course: Course, s: float, d: float) -> tuple[float, float, float]:
        x, y, heading = course.at(s, d)
        return float(x), float(y), float(heading)
