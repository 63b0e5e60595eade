"""Draw the README's picture from a finished demo run: python tools/readme_picture.py runs/demo docs/images/demo.png"""

from __future__ import annotations

import argparse
from pathlib import Path

from lidardistill.atomic import atomic_write
from lidardistill.report.draw.overview import overview_png
from lidardistill.report.scene import Scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="demo run, arm folder, or showcase.npz")
    parser.add_argument("out", type=Path, help="PNG file")
    arguments = parser.parse_args()
    places = [
        arguments.run,
        arguments.run / "showcase.npz",
        arguments.run / "pretrained" / "showcase.npz",
    ]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        parser.error(f"{arguments.run} holds no showcase.npz: expected a finished `lidardistill demo`")
    data = overview_png(Scene.read(found))
    with atomic_write(arguments.out) as stream:
        stream.write(data)
    print(f"{arguments.out}: {len(data) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
