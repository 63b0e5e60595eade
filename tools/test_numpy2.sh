#!/usr/bin/env bash
# Run the tests once more with numpy 2, which nuscenes-devkit's own pin keeps out of `make setup` below Python 3.13.
# Usage: tools/test_numpy2.sh [PYTEST ARGUMENTS]     the environment goes to .venv-numpy2 and is made once
set -eu
cd "$(dirname "$0")/.."
VENV=.venv-numpy2 NUMPY2=1 tools/setup.sh
.venv-numpy2/bin/python -c 'import numpy; print("numpy", numpy.__version__)'
exec .venv-numpy2/bin/python -m pytest "$@"
