"""`lidardistill doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lidardistill.cli.options import KindOption


def run(
    dataroot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Root folder of the data set to check.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="V", help="nuScenes only; v1.0-trainval by default.")
    ] = None,
    kind: KindOption = "nuscenes",
    config: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="Pretraining config; its data set and batch size are checked."),
    ] = None,
) -> None:
    """Check the installation and, with --dataroot, the data. Exit code 1 if there is an error."""
    from lidardistill.doctor.caches import data_cache, kernel_cache, shared_memory
    from lidardistill.doctor.environment import check_environment

    pretraining = None
    if config is not None:
        from lidardistill.config.io import load_config
        from lidardistill.tasks.pretrain.config import PretrainConfig

        pretraining = load_config(PretrainConfig, config)
        if dataroot is None:
            kind, version = pretraining.data.kind, pretraining.data.version
            dataroot = Path(pretraining.data.dataroot)
    kernels = kernel_cache()
    findings = [*check_environment(), kernels, shared_memory(pretraining)]
    if dataroot is not None:
        from lidardistill.datasets.kinds import source_config

        source = source_config(kind, dataroot, version)
        findings.append(data_cache(dataroot))
        if kernels.level != "error":  # the kernels of the geometry could not be imported
            from lidardistill.doctor.data import check_data

            findings += check_data(source)
    for finding in findings:
        print(finding)
    errors = sum(finding.level == "error" for finding in findings)
    print(f"{errors} error{'s' * (errors > 1)}" if errors else "all is well")
    raise typer.Exit(1 if errors else 0)
