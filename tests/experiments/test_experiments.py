"""Every experiment of conf/experiment composes, can be planned, and has its page; the plan counts what is shared once."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from s1x.cell import Cell
from s1x.errors import SettingError
from s1x.evaluation import naming, plan
from s1x.evaluation.forecast import forecast
from s1x.report import listings, tables
from s1x.report.labels import complete
from s1x.report.paper import load_paper
from s1x.stages import stages

from ..report.narrow import check
from ..test_sweeper import EXPERIMENTS, ON_GPUS, TOOLS, at_scales, cells  # noqa: F401

ROOT = Path(__file__).parents[2]
STUDIES = (
    "budget_sweep", "wait_sweep", "extrapolation_strings", "majority_voting", "rejection_sampling", "token_conditional",
    "step_conditional", "class_conditional", "method_comparison", "main_results", "s1_1", "sequential_vs_parallel",
    "early_exit", "parallel_on_sequential", "search", "equal_tokens", "overthinking",
)  # fmt: skip
PLANNED = [name for name in EXPERIMENTS if not name.startswith(TOOLS)]
SCALES = ("laptop", "paper")
LARGE = (  # it takes seconds to compose their cells
    "equal_tokens", "overthinking", "method_comparison", "s1_1", "search", "parallel_on_sequential",
)  # fmt: skip
OF_THEIR_OWN = {  # by experiment and setting, what it is at either scale
    "early_exit": {"method.every": ("32,64,128", "250,500,1000")},
    "sequential_vs_parallel": {"method.inner.max_thinking_tokens": ("128,256", "2000,4000")},
    "parallel_on_sequential": {
        "method.steps": ("8,16,32,64,128", "32,64,128,256,512"), "method.policy.steps": ("64", "256"),
        "scorer": ("tiny_prm", "rlhflow_prm"),
    },
    "overthinking": {"method.every": ("32", "256")},
    "equal_tokens": {"method.window": ("2,4,64", "2,4,2048")},
    "s1_1": {
        "model": ("tiny_s1", "s1-32b,s1.1-32b"),
        "task": ("tiny_math,tiny_hard", "aime24,aime25,math500,gpqa_diamond"),
    },
    "majority_voting": {"task": ("tiny_math", "gpqa_diamond")},
    "sequence_length": {"train.max_length": ("2048,271", "32768,4096")},
    "sample_efficiency": {"data.select.how": ("paper", "random")},
    "data_ablation": {
        "data": (
            "tiny_s1k,tiny_random_1k,tiny_diverse_1k,tiny_longest_1k,tiny_full",
            "s1k,random_1k,diverse_1k,longest_1k,full_59k",
        ),
    },
}  # fmt: skip


@pytest.fixture
def planned(cells):  # noqa: F811
    """The cells of an experiment: planned("budget_sweep", "scale=paper")."""

    from hydra_plugins.s1x_sweeps._jobs import Job

    def expand(name, *overrides):
        _, configs = cells(None, f"+experiment={name}", "plan=true", *overrides)
        return [Cell(Job(c).task, Path(), Path(), c.hydra.job.num, list(c.hydra.overrides.task)) for c in configs]

    return expand


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        pytest.param(*at, marks=[pytest.mark.long] * (at[1] == "laptop" or at[0] not in STUDIES or at[0] in LARGE))
        for at in at_scales(PLANNED)
    ],
)
def test_every_experiment_can_be_planned(planned, name, scale):
    """It composes, with its own values by scale; what is shared is counted once; the plan's table fits 80 columns."""
    found = planned(name, f"scale={scale}", "scale.max_tries=3", "scale.samples=3", "task.limit=5")
    for key, values in OF_THEIR_OWN.get(name, {}).items():
        typed = (dict(override.split("=", 1) for override in cell.overrides if "=" in override) for cell in found)
        assert list(dict.fromkeys(own[key] for own in typed if key in own)) == values[SCALES.index(scale)].split(",")
    for cell in found:
        assert naming.identity(cell)["cell_id"]
        OmegaConf.to_container(cell.cfg, resolve=True, throw_on_missing=True)
    check([planned_table(found)])
    rows = plan.estimate(found)
    alone, here = sum(r.tokens for r in rows), sum(r.new_tokens for r in rows)
    assert len(rows) == len(found) > 1
    assert 0 < here <= alone * (1 + 1e-9)
    assert all(0 <= r.new_tokens <= r.tokens * (1 + 1e-9) and 0 <= r.new_streams <= r.streams for r in rows)


def planned_table(found):
    records = [complete(plan.identity(cell) | {"model": plan.model_of(cell.cfg)}) for cell in found]
    costs = [(10**5 + n, 10.0**8 + n, 10.0**7, f"{n}.5 h") for n in range(len(found))]
    return listings.plan(records, costs, "two CPU cores")


def test_nested_budgets_are_counted_once(planned):
    rows = plan.estimate(planned("budget_sweep", "scale=paper"))
    by_budget = {r.cell.cfg.method.get("max_thinking_tokens"): r for r in rows}
    assert by_budget[500].tokens == 30 * (500 + 16)
    assert by_budget[1000].tokens == 30 * (1000 + 16)
    assert by_budget[1000].new_tokens == 30 * (500 + 16)
    (once,) = (r for r in rows if r.cell.cfg.method.get("ignore_end") == 1)
    assert once.tokens - by_budget[16000].tokens == pytest.approx(30 * 331, rel=0.01)  # one Wait: 330 tokens and a stop


def test_an_instruction_is_another_prompt_and_forcing_is_not(planned):
    rows = plan.estimate(planned("token_conditional", "scale=paper"))
    free, forced = rows[:5], rows[5:]
    assert all(r.new_streams == r.streams for r in free)
    assert all(r.new_tokens <= 30 * 16 + 1 for r in forced)  # their thinking is read already


@pytest.mark.long
def test_a_model_to_be_trained_is_another_model(planned):
    rows = plan.estimate(planned("method_comparison", "scale=laptop", "scale.max_tries=3"))
    trained = [r for r in rows if "train" in stages(r.cell.cfg)]
    assert {r.cell.cfg.train.name for r in trained} == {"tiny-token-conditional", "tiny-step-conditional"}
    assert {plan.model_of(r.cell.cfg) for r in rows} == {"tiny-s1", "tiny-token-conditional", "tiny-step-conditional"}


def test_a_forced_countdown_binds_at_both_scales(planned):
    """A step has about 100 tokens in the paper and 10 in the tiny world."""
    for scale, step in (("laptop", 10), ("paper", 100)):
        own = (f"scale={scale}", "method.steps=8")
        (free,) = planned("step_conditional", "method=step_conditional", *own)
        (forced,) = planned("step_conditional", "method=step_conditional_forced", *own)
        assert naming.identity(forced)["limit_tokens"] == naming.identity(free)["limit_tokens"] == [0, 8 * step]
        assert sum(forecast(forced).values()) < sum(forecast(free).values())


@pytest.mark.long
def test_what_a_search_is_over_parts_no_series(planned):
    """Numbers in a group of settings are points of a curve, as numbers beside it are."""
    series = {naming.identity(cell)["series"] for cell in planned("parallel_on_sequential")}
    assert series == {"step_conditional", "majority_voting(step_conditional)", "rebase"}
    (worst, *_) = planned(
        "search", "method=dvts", "method.policy.by=min", "method.n=4", "scorer=tiny_prm", "sampling.temperature=1"
    )
    assert naming.identity(worst)["series"] == "dvts(min)"


def test_tries_follow_the_published_ones(planned):
    """Figure 6: 97, 8, 3, 2 and 1 tries per question at these limits; the assumed spread of lengths was fitted to them."""
    published = {4000: 97, 5000: 8, 6000: 3, 8000: 2, 16000: 1}
    for cell in planned("rejection_sampling", "scale=paper", "scale.limits=[4000,5000,6000,8000,16000]"):
        tries = len(forecast(cell)) / 30 - 1  # the others are answers
        assert tries == pytest.approx(published[cell.cfg.method.limit], rel=0.7)


def test_a_task_without_assumptions_gets_a_sentence(planned):
    (first, *_) = planned("wait_sweep", "scale=paper", "task=lm_eval", "task.lm_eval=gsm8k")
    with pytest.raises(SettingError, match=r"task\.questions=null: .* of gsm8k; add task\.questions=NUMBER"):
        forecast(first)


@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_holds_what_several_experiments_share(scale):
    """What one experiment needs stands in it."""
    texts = [file.read_text() for file in (ROOT / "conf" / "experiment").glob("*.yaml")]
    users = {
        key: sum(f"scale.{key}" in text for text in texts)
        for key in OmegaConf.load(ROOT / "conf" / "scale" / f"{scale}.yaml").scale
    }
    assert {key for key, n in users.items() if n < 2} == {"name", "plan"}


@pytest.mark.parametrize("name", (*STUDIES, *ON_GPUS))
def test_every_experiment_has_its_page(name):
    text = (ROOT / "experiments" / name / "README.md").read_text()
    assert f"python run.py +experiment={name}" in text
    published = ROOT / "experiments" / name / "paper.yaml"
    if published.exists():
        paper = load_paper(published)
        assert paper["points"] or paper["table"]


@pytest.mark.long
def test_table_3_stands_beside_our_series(planned):
    paper = load_paper(ROOT / "experiments" / "method_comparison" / "paper.yaml")
    ours = {naming.identity(cell)["series"] for cell in planned("method_comparison", "scale=paper")}
    assert {row["series"] for row in paper["table"]} == ours
    checked = load_paper(ROOT / "tests" / "metrics" / "table3.yaml")
    assert [{k: v for k, v in point.items() if k != "model"} for point in paper["points"]] == checked["points"]


def test_a_list_that_is_the_default_is_not_part_of_a_series_name(planned):
    assert {naming.identity(cell)["series"] for cell in planned("early_exit")} == {"budget_forcing", "early_exit"}


@pytest.mark.long
def test_controls_that_models_bring_along_are_cells(planned):
    """Each is another prompt or another end, at paper scale; a model of thinking that is switched off answers at once."""
    rows = plan.estimate(planned("native_controls", "scale=paper", "task.limit=3", "scale.budgets=[1000]"))
    told = [(plan.model_of(r.cell.cfg), OmegaConf.to_container(r.cell.cfg.chat.arguments), r) for r in rows]
    for model, key, values in (
        ("Qwen3-8B", "enable_thinking", [True, False]),
        ("Seed-OSS-36B", "thinking_budget", [512, 1024, 2048, 4096, 8192, 16384]),
        ("gpt-oss-20b", "reasoning_effort", ["low", "medium", "high"]),
    ):
        plain = [(a[key], r) for name, a, r in told if name == model and r.cell.cfg.method._target_.endswith(".none")]
        assert [value for value, _ in plain] == values
        assert all(r.new_streams > 0 for _, r in plain)
    ends = {(c.forced_break, c.final_answer) for c in (r.cell.cfg.chat for r in rows) if c.name == "qwen3"}
    own = "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
    assert (own, "") in ends and len(ends) == 2
    assert len(rows) == len({naming.identity(r.cell)["cell_id"] for r in rows})


@pytest.mark.long
def test_sizes_are_compared_at_equal_operations(planned):
    found = planned("model_size", "scale=paper", "task.limit=3", "scale.budgets=[1000]", "scale.waits=[2]")
    models = list(dict.fromkeys(plan.model_of(cell.cfg) for cell in found))
    assert models == [f"s1.1-{size}B" for size in ("32", "14", "7", "3", "1.5")]
    assert {cell.cfg.report.x for cell in found} == {"flops"}
    assert len(plan.estimate(found)) == len(found) == 15


@pytest.mark.parametrize("name", ON_GPUS)
def test_a_study_that_has_no_tiny_models_says_so(planned, name):
    with pytest.raises(SettingError, match=f"scale=laptop: {name} has values of model for paper only"):
        planned(name)


@pytest.mark.long
def test_methods_at_equal_tokens_share_and_their_page_counts_what_was_decoded(command, tmp_path):
    """On the scripted engine, one token at a time: the tokens of the page's cells are the engine's own count."""
    few = ("engine=scripted", "engine.tokens_per_poll=1", "engine.end_chance=90", "task.limit=3", "tracking=none")
    assert command("+experiment=equal_tokens", *few, "hydra.sweep.dir=out", "store.dir=store")[0] == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    cost = summary["cost"]
    assert not summary["problems"] and cost["path_tokens_union"] == cost["run"]["decode_tokens"]
    assert cost["path_tokens_union"] <= 0.6 * cost["path_tokens_independent"]
    for record in summary["cells"]:
        lines = (tmp_path / "out" / str(record["job"]) / "samples_tiny_math.jsonl").read_text().splitlines()
        assert record["path_tokens"] == sum(sum(json.loads(line)["reads"].values()) for line in lines)
    assert len({record["series"] for record in summary["cells"]}) > 20 and summary["equal_cost"]["budgets"]
    check(tables.of_summary(summary))
