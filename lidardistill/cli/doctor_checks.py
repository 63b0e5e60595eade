"""What `lidardistill doctor` looks at: `check_environment` and `check_data`, a finding a line."""

from __future__ import annotations

from lidardistill.cli.doctor_data import check_data
from lidardistill.cli.doctor_environment import check_environment
from lidardistill.cli.doctor_finding import Finding

__all__ = ["Finding", "check_data", "check_environment"]
