"""Make what ships of the tiny sets, after `python experiments/data_pipeline/pool.py` has made the labelled pool.

Writes s1x/tiny/data: tiny_s1k.parquet, and subsets.json with the digest of every tiny set, which the tests compare with a
rebuild.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir

from s1x.composition import BASE, register
from s1x.data import records
from s1x.data.build import build
from s1x.tiny import pool

SETS = ("tiny_s1k", "tiny_random_1k", "tiny_diverse_1k", "tiny_longest_1k", "tiny_full")


def main() -> None:
    register()
    made, conf = {}, str(Path(__file__).parents[2] / "conf")
    with tempfile.TemporaryDirectory() as store, initialize_config_dir(conf, **BASE):
        for name in SETS:
            built = build(compose("config", [f"data={name}", f"store.dir={store}"]))
            made[name] = {"records": len(built.table), "digest": records.digest(built.table)}
            if name == "tiny_s1k":
                shutil.copy(built.path / "train.parquet", pool.SHIPPED.with_name("tiny_s1k.parquet"))
    pool.SHIPPED.with_name("subsets.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
