"""s1x: test-time scaling, one command per ablation. `python run.py --help` says what there is.

The one entry point: Hydra composes a configuration, s1x.config checks it, and each stage it names runs. Nothing heavy is
imported before that.
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all: what follows takes seconds to load
    import os
    import sys

    if sys.getfilesystemencoding() == "ascii":  # LC_ALL=C, and Python told not to make the best of it
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])

    from s1x import interrupts

    interrupts.listen()

import errno
import gc
import logging
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from s1x import claims, interrupts, tracking
from s1x.callbacks import Passed, failures, problems
from s1x.cell import Cell
from s1x.composition import check_shown, main_settings, named, register, swept
from s1x.config import check_typed, validate
from s1x.errors import (
    FULL,
    CellFailed,
    DashboardFailed,
    NotReady,
    SettingError,
    TrainingFailed,
    check_no_keys,
    explain,
    printable,
)
from s1x.stages import STAGES, quietly, stages, together
from s1x.streams.engine import EngineError
from s1x.streams.store import StoreError
from s1x.submit import submission
from s1x.submit.settings import check_here, submits

register()
running = False  # set when the first job starts: an operating system's error before that is about the output directory


@hydra.main(config_path=str(Path(__file__).parent / "conf"), config_name="config", **main_settings())
def run(cfg: DictConfig) -> float | None:
    """Run the stages of one job; the value is its accuracy when it evaluates."""
    global running
    running = True
    interrupts.begin()
    job = HydraConfig.get()
    try:
        if cfg.plan == "doctor":
            return STAGES["doctor"].load().examine([Cell.of_job(cfg)], problems(cfg))
        if job.mode == RunMode.MULTIRUN:  # a single job was checked before its directory was made
            check_typed(job)
            validate(cfg)
            check_here(cfg)
        elif submits(cfg):
            submission.submit([(cfg, job.overrides.task)], Path(job.runtime.output_dir), "hydra.run.dir")
            return None
        wanted = cfg.plan and together(cfg) or stages(cfg)
        values = {name: STAGES[name].load().run(cfg) for name in wanted}
    except SettingError as error:
        sys.exit(fail(error, str(error), 2))  # raised on, Hydra would print more than the sentence
    except (CellFailed, DashboardFailed, EngineError, NotReady, StoreError, TrainingFailed) as error:
        if job.mode == RunMode.MULTIRUN:
            raise
        sys.exit(fail(error, str(error), 1))
    return values.get("evaluate")


def main() -> int:
    """Run, and turn whatever goes wrong into a sentence and an exit status: 2 wrong input, 1 failure, 128 + n for signal n."""
    try:
        return attempt()
    except KeyboardInterrupt as stop:
        interrupts.leave(stop if isinstance(stop, interrupts.Stopped) else interrupts.Stopped(2))
    finally:
        if stopped := interrupts.asked():
            interrupts.leave(stopped)
        claims.release()


def attempt() -> int:
    gc.set_threshold(200_000)  # composing makes small objects that stay; looking for garbage among them is a tenth of the time
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them
    logging.raiseExceptions = False  # where the disk is full, the log is not what to talk about
    sys.argv[1:] = named(swept(quietly(sys.argv[1:])))
    try:
        check_no_keys(sys.argv[1:])
        check_shown(sys.argv[1:])
        started()
    except (SettingError, HydraException, OmegaConfBaseException) as error:
        return fail(error, str(error) if isinstance(error, SettingError) else explain(error), 2)
    except ValueError as error:
        if "Config group override" not in str(error):  # Hydra's own traceback for a group that is set to null
            raise
        typed = next((a for a in sys.argv[1:] if a.endswith("=null")), str(error))
        return fail(error, f"{typed}: a group takes the name of one of its members (--help lists them), or is left out", 2)
    except (TrainingFailed, EngineError, StoreError, NotReady) as error:
        return fail(error, str(error), 1)
    except OSError as error:
        if error.errno in (*FULL, errno.EROFS, errno.EMFILE, errno.ENFILE):  # of the machine: no fault in s1x
            return fail(error, explain(error), 1)
        if running or error.filename is None:
            raise
        sentence = f"{error.filename}: {error.strerror}; set hydra.run.dir or hydra.sweep.dir to a place you can write to"
        return fail(error, sentence, 2)
    for sentence in failures:
        print(printable(sentence), file=sys.stderr)
    return 1 if failures else 0


def started() -> None:
    try:
        run()
    except Passed as passed:
        raise passed.error from None


def fail(error: BaseException, sentence: str, status: int) -> int:
    """Print the sentence, and the traceback when debug or hydra.verbose asks for it."""
    if any(argument.split("=")[0] in ("debug", "hydra.verbose") for argument in sys.argv[1:]):
        traceback.print_exception(error)
    print(printable(sentence), file=sys.stderr)
    if status == 2:
        claims.withdraw()
    return status


if __name__ == "__main__":
    status = main()
    tracking.leave(status)
    sys.exit(status)
