"""Put the recipes of configs/ into the wheel, as lidardistill/configs. The rest is in pyproject.toml."""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")


class BuildWithConfigs(build_py):
    """`build_py` that also copies the recipes. An editable install reads them from the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source in sorted(CONFIGS.rglob("*.yaml")):
            target = Path(self.build_lib) / "lidardistill" / source
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(source, target)


setup(cmdclass={"build_py": BuildWithConfigs})
