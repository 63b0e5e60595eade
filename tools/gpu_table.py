"""Print the GPU steps of a file of `lidardistill bench step` as one table. Usage: tools/gpu_table.py
step.json"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = ("data", "student_forward", "rest_of_forward", "backward", "optimizer")


def lines(record: dict[str, Any]) -> Iterator[str]:
    """A head, and a line for each batch size and precision, in milliseconds.

    Args:
        record: what `bench step` wrote.
    """
    heads = "".join(
        f"{name.replace('_forward', ' fwd').replace('rest_of', 'rest of'):>13}" for name in COLUMNS
    )
    yield f"{'exact SLidR recipe':<20}{'step ms':>10}{'IQR':>9}{heads}{'keyframes/s':>13}{'peak MiB':>10}"
    for case, found in record["figures"]["slidr"].items():
        if isinstance(found, str):
            yield f"{case:<20}{found}"
            continue
        parts = "".join(f"{found['parts'][name]['median_ms']:>13.1f}" for name in COLUMNS)
        peak = "-" if found["peak_mib"] is None else found["peak_mib"]
        yield (
            f"{case:<20}{found['median_ms']:>10.1f}{found['iqr_ms']:>9.1f}{parts}"
            f"{found['keyframes_per_s']:>13.2f}{peak:>10}"
        )


if __name__ == "__main__":
    for line in lines(json.loads(Path(sys.argv[1]).read_text())):
        print(line)
