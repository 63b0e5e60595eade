#!/usr/bin/env bash
# Run the steps of docker/Dockerfile.cpu in order in an empty folder, without a Docker engine: COPY copies, RUN runs,
# ENV is set, WORKDIR /app becomes the folder. USER and the folders outside of it are left out; so is FROM.
# Usage: docker/rehearse.sh [EMPTY_FOLDER]
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
app=${1:-$(mktemp -d)/app}
mkdir -p "$app"
[ -z "$(ls -A "$app")" ] || { echo "$app is not empty"; exit 2; }
cd "$app"

# One instruction a line: continuation lines joined, comments dropped.
sed -e '/^#/d' -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' "$source/docker/Dockerfile.cpu" | while read -r word rest; do
  case "$word" in
    ENV) eval "export ${rest//\/app/$app}" ;;
    COPY)
      set -- ${rest/--chown=lidar/}
      target=${!#}
      while [ $# -gt 1 ]; do
        echo "COPY $1 -> $target"
        case "$target" in */) cp -r "$source/$1" "$target" ;; *) mkdir -p "$(dirname "$target")"; cp -r "$source/$1" "$target" ;; esac
        shift
      done ;;
    RUN) case "$rest" in useradd*) ;; *) echo "RUN $rest"; PATH="$app/.venv/bin:$PATH" bash -euc "$rest" ;; esac ;;
    CMD) echo "CMD lidardistill $(echo "$rest" | tr -d '[]",')"; "$app/.venv/bin/lidardistill" --help >/dev/null ;;
    '' | FROM | USER | WORKDIR | VOLUME | ENTRYPOINT) ;;
    *) echo "unknown instruction: $word"; exit 1 ;;
  esac
done
echo "every step of docker/Dockerfile.cpu ran in $app"
