"""Make what ships of the tiny world's data: `python experiments/data_pipeline/ship.py` after the tiny base model has changed.

Writes s1x/tiny/data: pool.parquet (labelled by the base model), tiny_s1k.parquet, and subsets.json with the digest of every
tiny set, which the tests compare with a rebuild.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir

from s1x.config import register
from s1x.data import records
from s1x.data.build import build
from s1x.tiny import pool

SETS = ("tiny_s1k", "tiny_random_1k", "tiny_diverse_1k", "tiny_longest_1k", "tiny_full")


def main(model: str) -> None:
    pool.write(model)
    register()
    made = {}
    with tempfile.TemporaryDirectory() as store, initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        for name in SETS:
            built = build(compose("config", [f"data={name}", f"store.dir={store}"]))
            made[name] = {"records": len(built.table), "digest": records.digest(built.table)}
            if name == "tiny_s1k":
                shutil.copy(built.path / "train.parquet", pool.SHIPPED.with_name("tiny_s1k.parquet"))
    pool.SHIPPED.with_name("subsets.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path(pool.__file__).parent / "models" / "tiny-base"))
