#!/usr/bin/env bash
# The GPU suite on a bare machine without network (docs/gpu-check.md).
#
#   scripts/gpu_check.sh pack FOLDER            with network: the suite's sources and the wheels that it needs beside torch
#   scripts/gpu_check.sh pack FOLDER --train    also torch (a CUDA build, some GB), deepspeed, transformers, accelerate, peft
#   FOLDER/source/scripts/gpu_check.sh run      on the GPU machine: installs from FOLDER/wheels and runs
#
# PYTHON: the interpreter (python3). Without --train it is one that has torch, deepspeed, transformers, accelerate and peft.
# Exit code of `run`: pytest's; 3 if there was no GPU, so that nothing was run.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-python3}
tools=(pytest pytest-asyncio pytest-timeout)

pack() {
  local folder=$1 extras=worker
  [ "${2:-}" = --train ] && extras=worker,train
  mkdir -p "$folder/source" "$folder/wheels"
  git -C "$here" ls-files -z | tar -C "$here" --null -T - -c | tar -x -C "$folder/source"
  # `wheel` and not `download`: what has no wheel (deepspeed) is made one here.
  DS_BUILD_OPS=0 "$PYTHON" -m pip wheel -q -w "$folder/wheels" -c "$here/constraints.txt" "$here[$extras]" "${tools[@]}"
  echo "carry $folder over ($(du -sh "$folder" | cut -f1)), then: $folder/source/scripts/gpu_check.sh run"
}

run() {
  local wheels=$here/../wheels venv=$here/../venv figures=$here/../figures.json
  if [ ! -x "$venv/bin/python" ]; then
    # An environment on top of $PYTHON's, venv or not: what is there is used, and is not installed again.
    "$PYTHON" -m venv "$venv"
    "$PYTHON" -c 'import sys; print(*(f"import site; site.addsitedir({p!r})" for p in sys.path if "-packages" in p), sep="\n")' \
      > "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/training.pth"
    "$venv/bin/python" -m pip install -q --no-index --find-links "$wheels" 'hotfire[worker]' "${tools[@]}"
    "$venv/bin/python" -m pip install -q --no-index --find-links "$wheels" --no-deps --force-reinstall hotfire
    "$venv/bin/python" -c 'import torch, deepspeed, transformers, accelerate, peft' 2> /dev/null ||
      "$venv/bin/python" -m pip install -q --no-index --find-links "$wheels" 'hotfire[train]'
  fi
  rm -f "$figures"
  export HOTFIRE_CACHE_DIR=${HOTFIRE_CACHE_DIR:-$here/../cache} HOTFIRE_GPU_FIGURES=$figures TOKENIZERS_PARALLELISM=false
  local code=0
  (cd "$here" && "$venv/bin/python" -m pytest -m gpu -rs tests/gpu "$@") || code=$?
  if [ -f "$figures" ]; then
    cat "$figures"
  elif [ "$code" -eq 0 ]; then
    echo "nothing was run: the reason is above" >&2
    code=3
  fi
  return "$code"
}

case "${1:-}" in
  pack) [ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }; pack "$2" "${3:-}" ;;
  run) shift; run "$@" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
