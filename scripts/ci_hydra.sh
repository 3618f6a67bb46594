#!/usr/bin/env bash
# Hydra's next version (its newest release candidate): the README's commands and the tests of composition, without a warning of
# ours. Usage: scripts/ci_hydra.sh FOLDER VENV; the environment made in FOLDER borrows everything else from that in VENV.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 -m venv "$1"
"$2/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
"$1/bin/pip" install --quiet --disable-pip-version-check --pre 'hydra-core>=1.4.0rc3,<1.5'
export PATH="$1/bin:$PATH"
python -c 'import hydra, omegaconf; print("hydra", hydra.__version__, "omegaconf", omegaconf.__version__)'

said=$(mktemp)
trap 'rm -f "$said"' EXIT
for command in "+experiment=budget_sweep plan=true" "+experiment=budget_sweep task.limit=4 tracking=none" "--help" \
    "-m method.max_thinking_tokens=16,32 task.limit=4 tracking=none hydra/launcher=basic"; do
    python run.py $command store.dir="$1/store" hydra.sweep.dir="$1/out-$RANDOM" >"$said" 2>&1 || { cat "$said"; exit 1; }
    ! grep -n -i "warning" "$said" || { echo "python run.py $command warns"; exit 1; }
done
python -m pytest -n 2 -q -p no:cacheprovider tests/test_composition.py tests/test_config.py tests/docs \
    tests/test_sweeper.py::test_a_job_is_what_hydra_composes
python -m pytest -n 2 -q -p no:cacheprovider -m "slow or not slow" -k "not equal_tokens and not overthinking and not native_controls" \
    tests/test_sweeper.py::test_every_experiment_expands # others there give a job a sweeper, which 1.4 forbids
