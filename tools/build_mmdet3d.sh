#!/usr/bin/env bash
# Make .venv-mmdet3d inside the repository: what tools/setup.sh makes, with numpy 2, and mmdet3d 1.4.0 on an mmcv 2.1.0
# built from source. No root; a C++ compiler is needed, and 15 minutes of one core the first time (the wheel of mmcv is
# kept for the next).
# Usage: tools/build_mmdet3d.sh             MAX_JOBS=4 tools/build_mmdet3d.sh compiles four files at a time (each takes up to 2 GB)
#        VENV=DIR WHEELS=DIR tools/build_mmdet3d.sh     another environment, another place for the wheel
# An environment that has torch and lidardistill, such as one with CUDA, is taken as it is. Where its torch sees a GPU and
# nvcc is there mmcv builds its CUDA operators too; that was not tried here.
set -eu
cd "$(dirname "$0")/.."
venv=${VENV:-.venv-mmdet3d}
mmcv=2.1.0 mmdet=3.3.0 mmdet3d=1.4.0 mmengine=0.10.7
# numpy 2: mmdet3d's database sampler asks for np.long, which numpy 1.24 to 1.26 have not.
"$venv/bin/python" -c "import torch, lidardistill" 2>/dev/null || VENV=$venv NUMPY2=1 tools/setup.sh
stamp=$venv/.mmdet3d-$(cat pyproject.toml tools/build_mmdet3d.sh | cksum | cut -d' ' -f1)
[ -e "$stamp" ] && exit 0

venv=$(cd "$venv" && pwd)
stamp=$venv/${stamp##*/}
python=$venv/bin/python
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

# What is there stays as it is, but for numpy, which has to be 2 or newer.
pip freeze --exclude-editable | grep -v -E ' @ |^(numpy|setuptools)==' >"$venv/installed.txt" || true
pip install --quiet -c "$venv/installed.txt" -e '.[mmdet3d]'

# mmcv's setup.py imports pkg_resources, which left setuptools in 81 (the extra keeps an older one), and torch, which an
# isolated build would not have: without torch it quietly builds no operators, and mmdet3d then stops at
# "No module named mmcv._ext".
abi=$("$python" -c 'import sys, torch; print(f"py{sys.version_info.major}{sys.version_info.minor}-torch{torch.__version__}")')
wheels=${WHEELS:-${XDG_CACHE_HOME:-$HOME/.cache}/lidardistill}/mmcv-$mmcv-$abi
if ! ls "$wheels"/mmcv-*.whl >/dev/null 2>&1; then
  command -v "${CXX:-g++}" >/dev/null || { echo "mmcv is compiled here, and no C++ compiler was found: install g++ or set CXX" >&2; exit 1; }
  mkdir -p "$wheels"
  echo "building mmcv $mmcv for $abi into $wheels"
  PATH=$venv/bin:$PATH MMCV_WITH_OPS=1 MAX_JOBS=${MAX_JOBS:-1} "$python" -m pip --disable-pip-version-check wheel --quiet \
    --no-deps --no-build-isolation --no-cache-dir --no-binary mmcv "mmcv==$mmcv" -w "$wheels"
fi

# Without their dependencies: pyproject.toml says beside the extra why.
pip install --quiet --no-deps "$wheels"/mmcv-*.whl "mmdet==$mmdet" "mmdet3d==$mmdet3d" "mmengine==$mmengine" lyft_dataset_sdk nuscenes-devkit==1.2.0
"$python" -c 'import mmcv.ops, mmdet3d.models, mmdet3d.datasets, mmdet3d.evaluation; print("mmdet3d imports, with the operators of mmcv; what pip said of missing and newer packages is known")'
touch "$stamp"
