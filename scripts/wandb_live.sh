#!/usr/bin/env bash
# What tests/tracking shows against a stand-in, done with your own W&B login, and what to look at there. See --help.
set -euo pipefail

usage() {
    cat <<'TEXT'
scripts/wandb_live.sh [PROJECT [ENTITY]]

Runs a small sweep of the tiny model (a minute or two on two cores) with your own login, and its dashboard twice; the same
sweep into files, which `wandb sync` sends; then prints what to look at. All goes to PROJECT (default: s1x-live) of ENTITY
(default: your own); remove it afterwards on its page. Needs `wandb login` and pip install -e '.[wandb]'.
TEXT
}

case ${1:-} in -h | --help) usage; exit 0 ;; esac
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
project=${1:-s1x-live}
work=.s1x/wandb_live/$(date +%Y-%m-%d_%H-%M-%S)
tracking=(tracking.project="$project" ${2:+tracking.entity="$2"} tracking.tags=[live])
sweep=(-m name=live method.max_thinking_tokens=32,64,128,256,512 method.ignore_end=0,2 task.limit=40 store.dir=.s1x/wandb_live/store)

"$python" run.py "${sweep[@]}" "${tracking[@]}" tracking=wandb tracking.mode=online tracking.dashboard=true \
    hydra.sweep.dir="$work/online"
cp "$work/online/wandb.json" "$work/first.json"
"$python" run.py stage=dashboard report.of="$work/online" "${tracking[@]}"
cmp "$work/first.json" "$work/online/wandb.json" || { echo "the second dashboard is another one than the first" >&2; exit 1; }

"$python" run.py "${sweep[@]}" "${tracking[@]}" tracking=wandb_offline hydra.sweep.dir="$work/offline"
wandb sync "$work"/offline/wandb/offline-run-*
"$python" run.py stage=dashboard report.of="$work/offline" "${tracking[@]}"

cat <<TEXT

Addresses: $work/online/wandb.json and $work/offline/wandb.json. Look whether
  1. each group (live-online, live-offline) has ten runs of type eval and one of type aggregate, tagged "live";
  2. a cell's run has a configuration, one point, a table "samples" with 40 rows, an artifact of type "cell";
  3. the aggregate run's summary is the sweep's (best.accuracy, cost.sharing_ratio), its line plots have one line for each series
     over thinking tokens, and its graph of lineage shows the cells;
  4. the workspace "s1x: live-online" shows, in "Accuracy against thinking", points with intervals on a logarithmic axis with a
     legend, and tooltips; tokens and operations in "Cost"; the tables of Control, Scaling, Performance; samples; the figure;
  5. workspace and report are there once each, though they were made twice;
  6. the report shows the runs of its own sweep alone.
What is not so, please tell the project, with wandb's version: $("$python" -c 'import wandb; print(wandb.__version__)')
TEXT
