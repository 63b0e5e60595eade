"""Checks of `lidardistill doctor`: `check_environment` and `check_data`. Each finding is one line."""

from __future__ import annotations

from lidardistill.doctor.data import check_data
from lidardistill.doctor.environment import check_environment
from lidardistill.doctor.finding import Finding

__all__ = ["Finding", "check_data", "check_environment"]
