#!/usr/bin/env bash
# Make .venv inside the repository: CPU torch, the package, the nuScenes devkit and the test tools. No root, no compiler.
# Usage: tools/setup.sh            PYTHON=python3.12 tools/setup.sh picks another interpreter
#        VENV=DIR NUMPY2=1 tools/setup.sh      another environment, with numpy 2 below Python 3.13 too
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=${VENV:-.venv}
stamp=$venv/.ready-$(cat pyproject.toml constraints.txt tools/setup.sh | cksum | cut -d' ' -f1)
[ -e "$stamp" ] && exit 0

"$python" -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 10) <= v < (3, 14) else
    f"lidardistill needs Python 3.10 to 3.13, but {sys.executable} is {v.major}.{v.minor}: PYTHON=python3.11 make setup picks another one")'
echo "setting up $venv with $("$python" --version)"
"$python" -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# The CPU build of torch: from the indexes that pip is configured for, else from PyTorch's own.
torch=$(sed -n 's/^torch==//p' constraints.txt)
pip install --quiet "torch==$torch+cpu" 2>/dev/null ||
  pip install --quiet "torch==$torch+cpu" --extra-index-url https://download.pytorch.org/whl/cpu ||
  pip install --quiet "torch==$torch"

if [ -n "${NUMPY2:-}" ] || "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
  # nuscenes-devkit asks for numpy < 2, which has no build for Python 3.13; the devkit itself runs on numpy 2.
  grep -v -E '^(numpy|opencv-python-headless)==' constraints.txt >"$venv/constraints.txt"
  pip install --quiet -c "$venv/constraints.txt" -e '.[dev]' 'numpy>=2' cachetools opencv-python-headless pyquaternion scikit-learn tqdm shapely fire descartes parameterized
  pip install --quiet --no-deps nuscenes-devkit==1.2.0
else
  pip install --quiet -c constraints.txt -e '.[nuscenes,dev]'
  pip check
fi
touch "$stamp"
