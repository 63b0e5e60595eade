#!/usr/bin/env bash
# Make .venv-mmdet3d inside the repository: what tools/setup.sh makes, and mmdet3d 1.4.0 on an mmcv 2.1.0 built from source.
# No root; a C++ compiler is needed, and about 12 minutes of two cores the first time (the wheel of mmcv is kept for the next).
# Usage: tools/build_mmdet3d.sh             MAX_JOBS=1 tools/build_mmdet3d.sh compiles one file at a time (each takes up to 2 GB)
#        VENV=DIR WHEELS=DIR tools/build_mmdet3d.sh     another environment; another place for the wheel
# Where nvcc and a CUDA build of torch are found mmcv builds its CUDA operators too; that was not tried here.
set -eu
cd "$(dirname "$0")/.."
venv=${VENV:-.venv-mmdet3d}
mmcv=2.1.0 mmdet=3.3.0 mmdet3d=1.4.0 mmengine=0.10.7
VENV=$venv tools/setup.sh
stamp=$venv/.mmdet3d-$(cksum <tools/build_mmdet3d.sh | cut -d' ' -f1)
[ -e "$stamp" ] && exit 0

venv=$(cd "$venv" && pwd)
stamp=$venv/${stamp##*/}
python=$venv/bin/python
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

# mmcv's setup.py imports pkg_resources, which left setuptools in 81, and torch, which an isolated build would not have:
# without torch it quietly builds no operators, and mmdet3d then stops at "No module named mmcv._ext".
pip install --quiet "setuptools<81" wheel ninja
abi=$("$python" -c 'import sys, torch; print(f"py{sys.version_info.major}{sys.version_info.minor}-torch{torch.__version__}")')
wheels=${WHEELS:-${XDG_CACHE_HOME:-$HOME/.cache}/lidardistill}/mmcv-$mmcv-$abi
if ! ls "$wheels"/mmcv-*.whl >/dev/null 2>&1; then
  command -v "${CXX:-g++}" >/dev/null || { echo "mmcv is compiled here, and no C++ compiler was found: install g++ or set CXX" >&2; exit 1; }
  mkdir -p "$wheels"
  echo "building mmcv $mmcv for $abi into $wheels"
  PATH=$venv/bin:$PATH MMCV_WITH_OPS=1 MAX_JOBS=${MAX_JOBS:-2} "$python" -m pip --disable-pip-version-check wheel --quiet \
    --no-deps --no-build-isolation --no-cache-dir --no-binary mmcv "mmcv==$mmcv" -w "$wheels"
fi

# Without their dependencies: they name opencv-python and open3d (a gigabyte with CUDA), which nothing here imports, and
# would take the place of opencv-python-headless.
pip install --quiet --no-deps "$wheels"/mmcv-*.whl "mmdet==$mmdet" "mmdet3d==$mmdet3d" "mmengine==$mmengine" lyft_dataset_sdk
pip install --quiet -c constraints.txt addict yapf termcolor regex shapely terminaltables tqdm six pycocotools plyfile trimesh \
  pyquaternion cachetools scikit-learn descartes pandas networkx
"$python" -c 'import mmcv.ops, mmdet3d.models, mmdet3d.datasets, mmdet3d.evaluation; print("mmdet3d imports, with the operators of mmcv")'
touch "$stamp"
