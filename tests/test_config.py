"""Every configuration composes and makes sense; wrong input ends in one sentence before anything heavy is imported."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from s1x.config import validate
from s1x.errors import SettingError
from s1x.stages import stages

from .conftest import NO_LOCAL

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
GROUPS = ("chat", "compat", "data", "distributed", "engine", "method", "model", "scale", "submit", "task", "tracking", "train")
SCALES = sorted(file.stem for file in (CONF / "scale").glob("*.yaml"))
MEMBERS = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
NEEDS = {"task=lm_eval": ["task.lm_eval=gsm8k"]}
HEAVY = ("torch", "transformers", "vllm", "lm_eval", "datasets", "wandb", "matplotlib", "numpy")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("group", "name"), MEMBERS)
def test_every_group_member_composes(composed, group, name, scale):
    choice = f"{group}={name}"
    cfg = composed(f"scale={scale}", choice, *NEEDS.get(choice, ()))
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    OmegaConf.resolve(cfg)  # what --cfg job --resolve does
    assert plain["scale"]["name"] == (name if group == "scale" else scale)
    assert callable(instantiate(cfg.method))


def test_the_command_line_wins_over_the_scale(composed):
    cfg = composed("scale=paper", "model=tiny_base", "task=math500")
    assert (cfg.model.name, cfg.task.name) == ("tiny-base", "math500")


def test_validate_accepts_every_method(composed):
    for file in sorted((CONF / "method").glob("*.yaml")):
        validate(composed("engine=scripted", f"method={file.stem}", "sampling.temperature=1", "scorer=judge"))


def test_a_method_that_asks_a_scorer_needs_one(composed):
    for method in ("best_of_n", "beam_search", "dvts", "rebase", "particle_filtering"):
        with pytest.raises(SettingError, match=f"method={method} needs a model that scores, and scorer=none"):
            validate(composed(f"method={method}", "sampling.temperature=1"))
    validate(composed("method=best_of_n", "sampling.temperature=1", "scorer=math_shepherd"))


def test_a_method_that_looks_at_confidence_needs_an_engine_that_says_it(composed):
    pytest.importorskip("vllm")
    with pytest.raises(
        SettingError, match="^engine=vllm: it does not say the log-probabilities of the whole vocabulary at each"
    ):
        validate(composed("method=self_certainty", "engine=vllm", "sampling.temperature=1"))
    for method in ("deepconf", "deepconf_online"):
        validate(composed(f"method={method}", "engine=vllm", "sampling.temperature=1"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("scorer.prompt=x", "scorer.prompt='x': must hold {question}"),
        ("scorer.separator=''", "scorer.separator: must be some text"),
        ("scorer.labels=[yes]", "needs two words or more"),
        ("scorer.right=2", "scorer.right=2: must be the place"),
        ("scorer.model.path=null", "scorer.model.path must say where"),
        ("method.policy.by=median", "method.policy.by='median': must be one of 'last', 'min', 'mean', 'product'"),
        ("method.policy.step_tokens=0", "method.policy.step_tokens=0: must be a whole number of 1 or more"),
        ("method.n=6", "method.width=4: must divide method.n=6"),
        ("method.vote=loudest", "method.vote='loudest': must be one of"),
        ("sampling.temperature=0", "sampling.temperature=0.0: this method needs a temperature above 0"),
    ],
)
def test_scorers_and_searches_say_what_is_wrong(composed, typed, said):
    with pytest.raises(SettingError) as error:
        validate(composed("method=beam_search", "sampling.temperature=1", "scorer=judge", typed))
    assert said in str(error.value)


def test_stages_run_in_their_order(composed):
    assert stages(composed("stage=[evaluate,train]")) == ["train", "evaluate"]
    with pytest.raises(SettingError, match="stage=evalute: must be one of data, train, evaluate, import, report"):
        stages(composed("stage=evalute"))


WRONG = {
    "+experiment=budget_sweeep": "experiment=budget_sweeep: there is no such experiment; did you mean budget_sweep?",
    "experiment=budget_sweep": "add one with +experiment=",
    "method=budgetforcing": "did you mean budget_forcing?",
    "task=lm_eval": "task.lm_eval: has no value yet; add task.lm_eval=...",
    "data=null": "data=null: a group takes the name of one of its members",
    "task=nope": "task=nope: there is no such task; choose one of ",
    "seeed=1": "seeed: there is no such setting; did you mean seed?",
    "method.foo=1": "method.foo: there is no such setting; choose one of ",
    "+experiments=x": "experiments: there is no such setting; did you mean +experiment=...?",
    "+budget=256": "budget: there is no such setting; did you mean method.max_thinking_tokens?",
    "budget=256": "budget: there is no such setting; did you mean method.max_thinking_tokens?",
    "+max_thinking_tokens=256": "max_thinking_tokens: there is no such setting; did you mean method.max_thinking_tokens?",
    "++thinking_n_ignore=2": "thinking_n_ignore: there is no such setting; did you mean method.ignore_end?",
    "+temperature=1": "temperature: there is no such setting; did you mean sampling.temperature?",
    "+method.foo=1": "method.foo: there is no such setting; choose one of ",
    "+method.ignore_ends=2": "method.ignore_ends: there is no such setting; did you mean method.ignore_end?",
    "+task.nonsense=1": "task.nonsense: there is no such setting; choose one of ",
    "+engine.foo.bar=1": "engine.foo.bar: there is no such setting; choose one of ",
    "+foo={seed: 1}": "foo: there is no such setting; choose one of answer, chat, ",
    "+seed=1": "+seed: there is such a setting already",
    "+experiment=[wait_sweep,budget_sweep]": "+experiment=[wait_sweep,budget_sweep]: one experiment in a command",
    "+experiment=wait_sweep,budget_sweep": "+experiment=wait_sweep,budget_sweep: one experiment in a command",
    "seed=abc": "seed=abc: must be a whole number",
    "seed=null": "seed=null: must be a whole number",
    "++seed=[1]": "++seed=[1]: must be a whole number",
    "sampling.top_p=high": "sampling.top_p=high: must be a number",
    "sampling={temperature: hot}": "sampling.temperature=hot: must be a number",
    "plan=perhaps": "plan=perhaps: must be true or false",
    "report.x=[1]": "report.x=[1]: must be text, or null",
    "model.name=null": "model.name=null: must be text",
    "store.accept=3": "store.accept=3: must be a list, such as [a,b]",
    "answer=3": "answer=3: must be settings, such as {name: value}",
    "seed=-1": "seed=-1: must be a whole number, 0 or more",
    "sampling.temperature=-1": "sampling.temperature=-1.0: must be 0 (greedy) or more",
    "sampling.top_p=0": "sampling.top_p=0.0: must be more than 0 and at most 1",
    "stage=nope": "stage=nope: must be one of data, train, evaluate, import, report",
    "stage=train": "stage=train: no data is chosen",
    "method.max_thinking_tokens=0": "method.max_thinking_tokens=0: must be ",
    "method.max_thinking_tokens=2048": "method.max_thinking_tokens=2048: must be at most ",
    "method.ignore_end=-1": "method.ignore_end=-1: must be ",
    "method.string=a,b": "method.string=a,b: add -m to sweep over these values",
    "answer.max_tokens=0": "answer.max_tokens=0: must be a whole number, 1 or more, or null",
    "answer.reserve=-1": "answer.reserve=-1: must be a whole number, 0 or more",
    "answer.foo=1": "answer.foo: there is no such setting; choose one of max_tokens, reserve",
    "task.max_answer_tokens=0": "task.max_answer_tokens=0: must be",
    "task.limit=0": "task.limit=0: must be ",
    "task.limit=abc": "task.limit=abc: must be a whole number of at least 1 or null",
    "engine.capacity=abc": "engine.capacity=abc: must be a whole number",
    "task.file=nope.jsonl": "task.file=nope.jsonl: there is no such file",
    "store.dir=/dev/null/store": "store.dir=/dev/null/store: /dev/null is not a directory",
    "hydra.run.dir=/dev/null/out": "/dev/null/out: Not a directory; set hydra.run.dir",
    "tracking.mode=loud": "tracking.mode=loud: must be one of auto, online, offline, disabled",
}


@pytest.mark.parametrize("override", WRONG)
def test_wrong_input_gets_one_sentence(command, override):
    status, said = command("engine=scripted", override)
    assert (status, said.count("\n")) == (2, 1), said
    assert WRONG[override] in said


SECRETS = [
    "engine.urls=http://user:hush@localhost:8000",
    "engine.urls=[http://localhost:1,https://hush@host/v1]",
    "engine.api_key_env=sk-hush",
    "task.judge={url: 'http://localhost:1', model: x, api_key_env: hush123}",
    "task.judge={url: 'http://me:hush@localhost:1', model: x}",
    "data.domains.server.api_key_env='hush'",
]


@pytest.mark.parametrize("typed", SECRETS)
def test_a_key_that_is_typed_is_refused_and_kept_nowhere(command, tmp_path, typed):
    status, said = command("engine=server", typed)
    assert (status, said.count("\n")) == (2, 1) and "hush" not in said, said
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("flags", [("--cfg", "job"), ("-c", "job"), ("--cfg=all",), ("--cfg", "job", "--package", "method")])
def test_what_is_only_shown_is_checked_as_well(command, flags):
    for made_up in ("+budget=256", "+method.foo=1"):
        status, said = command(*flags, "engine=scripted", made_up)
        assert status == 2 and said.startswith(f"{made_up[1:].partition('=')[0]}: there is no such setting"), said
    for fine in ("+experiment=wait_sweep", "+scale.plan.mine=1", "seed=3", "+task.limit=3"):
        assert command(*flags, "engine=scripted", fine) in ((None, ""), (0, "")), fine
    status, said = command(*flags, "+nothing/like=this", "seed=abc")  # what else is wrong is said once
    assert status == 2 and said.count("\n") == 1


OPEN = ["+scale.plan.mine=1", "+hydra.job.env_set.X=1", "+data.sources.mine.path=x", "+task.limit=3", "++seed=3"]


@pytest.mark.parametrize("override", OPEN)
def test_plus_stays_where_there_is_room_or_a_setting(command, override):
    """The only mistake is the one that comes after the settings were looked at."""
    status, said = command("data=tiny_s1k", "engine=scripted", override, "sampling.top_p=0")
    assert status == 2 and said.startswith("sampling.top_p=0.0: must be"), said


@pytest.mark.parametrize("override", ["+budget=1,2", "+method.ignore_ends=1,2", "+task.nonsense=1"])
@pytest.mark.parametrize(
    "more", [("-m",), ("+experiment=wait_sweep",), ("-m", "+experiment=budget_sweep", "hydra/launcher=basic")]
)
def test_a_sweep_refuses_what_a_run_refuses(command, tmp_path, override, more):
    status, said = command(*more, "engine=scripted", override)
    key = override[1:].partition("=")[0]
    assert status == 2 and said.startswith(f"{key}: there is no such setting; ") and said.count("\n") == 1, said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("typed", ["a,b", "[a,b]", "budget_sweep +experiment=wait_sweep", "[wait_sweep,budget_sweep,s1_1]"])
def test_one_experiment_in_a_command(command, tmp_path, typed):
    typed = typed.replace("a,b", "budget_sweep,tiny_sft")
    status, said = command("-m", *f"+experiment={typed}".split())
    assert status == 2 and "one experiment in a command" in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_missing_model_gets_one_sentence(command, tmp_path):
    status, said = command("model.path=./nowhere")
    assert status == 2 and said.startswith("model.path=./nowhere does not exist") and said.count("\n") == 1
    (tmp_path / "empty").mkdir()
    status, said = command("model.path=./empty")
    assert status == 2 and "no config.json" in said and said.count("\n") == 1


def test_a_malformed_task_file_gets_one_sentence(command, tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"question": "1+1", "answer": "2"}\n{"question"\n')
    status, said = command("engine=scripted", "task.file=broken.jsonl")
    assert status == 2 and "broken.jsonl" in said and "line 2 is not JSON" in said and said.count("\n") == 1


OWN = "dataset_path: json\ntest_split: test\noutput_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: a\n"


@pytest.mark.parametrize(
    ("file", "line", "name"),
    [
        ("capitals.yaml", "task: capitals\n", "capitals"),
        ("deep/in/folders.yml", "task: 'lands' # of the world\n", "lands"),
        ("nameless.yaml", "", "nameless"),
    ],
)
def test_a_task_file_brings_its_name(composed, tmp_path, monkeypatch, file, line, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line + OWN)
    cfg = composed("engine=scripted", "task=lm_eval", f"task.lm_eval={file}")
    validate(cfg)
    assert cfg.task.name == name
    assert composed("task=lm_eval", f"task.lm_eval={file}", "task.name=mine").task.name == "mine"


def test_debug_shows_the_traceback(command):
    assert "Traceback" in command("engine=scripted", "seed=-1", "debug=true")[1]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["method.max_thinking_tokens=0", "engine=scripted"]], ids=" ".join
)
def test_answers_at_once(arguments, tmp_path):
    """Nothing heavy is imported, and less than 6 s of processor time is spent (0.7 s on a quiet machine)."""
    probe = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"finally: print('heavy:', [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        f"import sys; sys.argv = {[str(ROOT / 'run.py'), *NO_LOCAL, *arguments]!r}; sys.path.insert(0, {str(ROOT)!r})\n{probe}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert "heavy: []" in done.stderr, done.stderr
    assert done.returncode == (2 if "method.max_thinking_tokens=0" in arguments else 0)
    assert seconds < 6, f"{seconds:.2f} s"
