#!/usr/bin/env bash
# The checks that need a GPU, on a bare machine without a network: one NVIDIA GPU, Python 3.12, torch with CUDA.
# Usage: tools/gpu_check.sh --wheels DIR [--out DIR] [--dataroot DIR]
#        tools/gpu_check.sh --rehearse [--out DIR]
# DIR of wheels: spconv-cu126 2.3.8 (spconv-cu120 has none for Python 3.12), cumm-cu126, pccm, ccimport, pybind11, fire,
# termcolor, lark, portalocker, and what `pip check` misses of pyproject.toml's dependencies; torch is the machine's own.
# --rehearse: the same steps on this machine's CPU with this environment, tiny; the GPU-marked tests are only collected.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
wheels='' out=gpu_check dataroot='' rehearse=''
while [ $# -gt 0 ]; do
  case "$1" in
    --wheels) wheels=$2; shift ;;
    --out) out=$2; shift ;;
    --dataroot) dataroot=$2; shift ;;
    --rehearse) rehearse=1 ;;
    *) sed -n '2,4p' "$0"; exit 2 ;;
  esac
  shift
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export MPLCONFIGDIR="$out/matplotlib"
python() { "$PYTHON" "$@"; }

echo "== environment"
if [ -n "$wheels" ]; then
  ls "$wheels"/*.whl >/dev/null 2>&1 || { echo "error: --wheels $wheels: expected a folder of .whl files"; exit 1; }
  # Into a folder of its own, without dependencies: pip must not touch the machine's torch, nor look for a network.
  python -m pip install --quiet --no-index --no-deps --upgrade --target "$out/site" "$wheels"/*.whl
  export PYTHONPATH="$PWD:$out/site"
elif [ -z "$rehearse" ]; then
  echo "note: no --wheels; taking what is installed"
fi
python - "$rehearse" <<'PY'
import sys

import torch

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda}")
if torch.cuda.is_available():
    print(f"{torch.cuda.get_device_name()}, compute capability {torch.cuda.get_device_capability()}")
elif not sys.argv[1]:
    sys.exit("error: torch finds no GPU; tools/gpu_check.sh --rehearse runs the same steps on a CPU")
from lidardistill.sparse.sparse import import_spconv

import_spconv(cuda=not sys.argv[1])
PY

echo "== tests marked gpu"
marks=(-m gpu -p no:cacheprovider -ra)
tests=passed
if [ -n "$rehearse" ]; then
  python -m pytest tests "${marks[@]}" --collect-only | tail -1
  tests='not run: collected only'
elif python -m pytest --version >/dev/null 2>&1; then
  python -m pytest tests "${marks[@]}" --device cuda | tee "$out/tests.log" || tests=FAILED
else
  tests='not run: pytest is not among the wheels'
fi

echo "== bench step"
options=(--out "$out/step.json")
[ -n "$dataroot" ] && options+=(--dataroot "$dataroot")
if [ -n "$rehearse" ]; then
  options+=(--rehearse --rounds 5 --batch-size 1,2 --precision bf16)
else
  options+=(--rounds 7 --batch-size 4,16 --precision fp32,bf16)
fi
python -m lidardistill bench step "${options[@]}"

echo "== summary"
echo "tests marked gpu: $tests"
python tools/gpu_table.py "$out/step.json"
[ "$tests" != FAILED ]
