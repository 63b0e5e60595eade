#!/usr/bin/env bash
# Run the tests once more with numpy 2, which nuscenes-devkit's own pin keeps out of `make setup` below Python 3.13.
# Usage: tools/test_numpy2.sh [PYTEST ARGUMENTS]     the environment goes to .venv-numpy2 and is made once
set -eu
cd "$(dirname "$0")/.."
venv=.venv-numpy2
pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }
if [ ! -e "$venv/.ready" ]; then
  "${PYTHON:-python3}" -m venv --clear "$venv"
  grep -v -E '^(numpy|opencv-python-headless)==' constraints.txt >"$venv/constraints.txt"
  torch=$(sed -n 's/^torch==//p' constraints.txt)
  pip "torch==$torch+cpu" 2>/dev/null || pip "torch==$torch+cpu" --extra-index-url https://download.pytorch.org/whl/cpu || pip "torch==$torch"
  pip -c "$venv/constraints.txt" -e '.[cpu,dev]' 'numpy>=2' cachetools opencv-python-headless pyquaternion scikit-learn tqdm shapely fire descartes parameterized
  pip --no-deps nuscenes-devkit==1.2.0
  touch "$venv/.ready"
fi
"$venv/bin/python" -c 'import numpy; print("numpy", numpy.__version__)'
exec "$venv/bin/python" -m pytest "$@"
