"""What the log says before anything is generated: another family's thinking, and sampling that generation_config.json has."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from s1x.chat import Chat
from s1x.evaluation.notes import families, family, formats
from s1x.files import PACKAGE
from s1x.models.generation import unused
from scripts.families import chat_format, load

from ..conftest import CONF

FAMILIES = load()["families"]
PHI = "Phi-4-reasoning"  # of its template's system prompt, which asks for the tags, the middle is not recorded
SHOWN = [name for name, found in FAMILIES.items() if found["chat"] not in ("s1", "plain")]


class Shown:
    """A tokenizer with a family's tokens, whose template shows what was recorded of the family's own."""

    def __init__(self, name: str):
        found = FAMILIES[name]
        turn = [found["answered"], *([found["turn"]] if found["turn_by_template"] or name == PHI else ())]
        arguments = [key for prompt in found["prompts"] for key in prompt["arguments"]]
        self.chat_template = " ".join([*arguments, *(prompt["text"] for prompt in found["prompts"]), *turn])
        self.tokens, self.prompt = found["tokens"], found["prompts"][0]["text"]

    def encode(self, text, add_special_tokens=False):
        return [0] if text in self.tokens else [1] * len(text)

    def apply_chat_template(self, messages, **_):
        return self.prompt


def said(name: str, chat: str, path: str = "some/where") -> list[str]:
    return list(family(Chat(chat_format(chat), Shown(name), 4096), SimpleNamespace(path=path, name="M")))


@pytest.mark.parametrize("name", SHOWN)
def test_a_family_under_s1s_format_is_told_which_fits(name):
    (sentence,) = said(name, "s1")
    named = [fits.removeprefix("chat=") for fits in sentence.rpartition("; ")[2].removesuffix(" fits").split(" or ")]
    own = FAMILIES[name]["chat"]
    if name != "Nemotron 3":  # SmolLM3's format is the same but for ends that only one of both has
        assert own in named
    assert {(formats()[chat].thinking_start, formats()[chat].thinking_end) for chat in named} == {
        (formats()[own].thinking_start, formats()[own].thinking_end)
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_its_own_format_and_one_of_the_same_marks_are_fine(name):
    assert said(name, FAMILIES[name]["chat"]) == []
    if "<think>" in FAMILIES[name]["turn"]:
        assert said(name, "think") == []


def test_other_wrong_formats_are_told_as_well():
    assert "chat=seed-oss fits" in said("Seed-OSS", "qwen3")[0]
    assert "chat=gpt-oss fits" in said("gpt-oss", "think")[0]
    assert "'[THINK]' and '[/THINK]'; chat=magistral fits" in said("Magistral", "think")[0]
    assert "it has nothing around the thinking" in said("Qwen3", "plain")[0]


def test_a_model_by_its_name_is_told_where_no_template_shows_it():
    assert said("Qwen2.5", "s1", "mistralai/Magistral-Small-2509")[0].endswith("chat=magistral fits")
    assert said("Qwen2.5", "plain", "Qwen/Qwen2.5-7B-Instruct") == said("s1, s1.1", "s1", "simplescaling/s1-32B") == []
    assert {format.name for format in families().values()} >= {"qwen3", "r1", "gpt-oss", "kimi-k2", "glm"}
    assert set(formats()) == {path.stem for path in (CONF / "chat").glob("*.yaml")}
    assert all(format == chat_format(name) for name, format in formats().items())


USED = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}


@pytest.mark.parametrize(
    ("said", "used", "found"),
    [
        (None, USED, {}),
        ({"eos_token_id": 2}, USED, {}),
        ({"temperature": 0.6, "top_p": 0.95, "top_k": 20}, USED, {"temperature": 0.6, "top_p": 0.95, "top_k": 20}),
        ({"temperature": 0.6, "top_p": 0.95}, {"temperature": 0.6, "top_p": 0.95, "top_k": 0}, {}),
        ({"temperature": 0, "top_k": -1, "top_p": 1}, USED, {}),
        ({"repetition_penalty": 1.05, "min_p": 0.0, "presence_penalty": None}, USED, {"repetition_penalty": 1.05}),
        ({"repetition_penalty": 1.0, "frequency_penalty": 0, "no_repeat_ngram_size": 3}, USED, {"no_repeat_ngram_size": 3}),
        ([1], USED, {}),
    ],
)
def test_sampling_that_is_not_used(tmp_path, said, used, found):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    if said is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(said))
    assert unused(str(tmp_path), None, used) == found
    assert unused(str(tmp_path / "nowhere"), None, used) == {}


def test_the_log_says_both_once(command, tmp_path):
    """A copy of the tiny model whose template has Qwen3's marks, and whose generation_config.json has its sampling."""
    folder = shutil.copytree(PACKAGE / "tiny" / "models" / "tiny-s1", tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "top_p": 0.95, "repetition_penalty": 1.05}))
    asked = [
        f"model.path={folder}",
        "model.name=mine",
        "tracking=none",
        "task.limit=2",
        "store.dir=null",
        "hydra.sweep.dir=out",
    ]
    status, err = command("-m", *asked, "method.max_thinking_tokens=4,8")
    assert status == 0, err
    log = (tmp_path / "out" / "run.log").read_text()
    assert log.count("generation_config.json of mine has top_p=0.95, repetition_penalty=1.05, which nothing here follows") == 1
    assert (
        log.count("chat=s1: it has '<|im_start|>think' and '<|im_start|>answer' around the thinking, and mine '<think>'") == 1
    )
