"""`lidardistill doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    dataroot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Root folder of nuScenes to check.")
    ] = None,
    version: Annotated[
        str, typer.Option(metavar="V", help="Version of nuScenes: v1.0-trainval or v1.0-mini.")
    ] = "v1.0-trainval",
) -> None:
    """Check the installation and, with --dataroot, the data. Exit code 1 if there is an error."""
    from lidardistill.doctor.checks import check_data, check_environment

    findings = check_environment()
    if dataroot is not None:
        findings += check_data(dataroot, version)
    for finding in findings:
        print(finding)
    errors = sum(finding.level == "error" for finding in findings)
    print(f"{errors} error{'s' * (errors > 1)}" if errors else "all is well")
    raise typer.Exit(1 if errors else 0)
