#!/usr/bin/env python
"""What families of reasoning models do with a conversation, recorded from their own chat templates.

    python scripts/families.py record [--folder DIR]    fetch the templates, write tests/families/recorded.json
    python scripts/families.py table [--write]          docs/families.md's table, from what is recorded

`record` takes templates and vocabularies out of packages (PACKAGES) that pip downloads into DIR (default: a temporary folder,
some 500 MB); none of them is kept here. What is kept: the prompts as rendered, long lines shortened; a turn with thinking, as
the template writes it where it does; and how the vocabulary spells the words in them, so that tests need no vocabulary.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []
RECORDED = ROOT / "tests" / "families" / "recorded.json"
PAGE = ROOT / "docs" / "families.md"
PACKAGES = {
    "llama": "llama-cpp-python==0.3.36",  # most templates, and the vocabularies of Qwen2.5 and Llama 3
    "unsloth": "unsloth==2026.10.9",
    "axolotl": "axolotl==0.19.0",
    "mistral": "mistral-common==1.13.1",  # writes the templates of Mistral's models; its Tekken vocabulary
    "gguf": "gguf==0.19.0",  # reads vocabularies
}
QUESTION, THINKING, ANSWER = "What is 2 + 2?", "Two and two make four. So it is 4.", r"The answer is \boxed{4}."
CUT = "Two and two make"  # what of THINKING a budget leaves
HEAD, TAIL = 30, 120  # characters of a long line that are kept

_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
WORDS = {  # how a vocabulary cuts text into words, within which alone it merges
    "Qwen2.5": _CONTRACTIONS + _LETTERS % r"\p{N}",
    "Llama 3": _CONTRACTIONS + _LETTERS % r"\p{N}{1,3}",
    "Tekken": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


@dataclass(frozen=True)
class Family:
    """A family of models, and what is not in its template.

    template: its file or name, behind the package. tokens: its tokens beside the vocabulary's words, the end of the turn first.
    turn: thinking and answer as its models write them, with {thinking} and {answer}, where the template does not say.
    off: settings ({system, arguments}) with which it does not think; others: more of its own. beside: arguments that only this
    edition of the template reads. vocabulary: Qwen2.5's stands in where the family's own is in no package.
    """

    chat: str
    template: str
    tokens: str
    vocabulary: str = "Qwen2.5"
    own_vocabulary: bool = False
    turn: str | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)
    off: Mapping[str, Any] | None = None
    others: tuple[Mapping[str, Any], ...] = ()


_OFF = {"arguments": {"enable_thinking": False}}
_CHATML = "<|im_end|> <|endoftext|> <|im_start|>"
_R1 = "<｜end▁of▁sentence｜> <｜begin▁of▁sentence｜> <｜User｜> <｜Assistant｜> <think> </think>"
_EDITED = {"enable_thinking": True}  # llama.cpp's editions of these templates close the thinking without it
FAMILIES = {
    "s1, s1.1": Family(
        "s1", "llama/Qwen-Qwen2.5-7B-Instruct.jinja", _CHATML, own_vocabulary=True,
        turn="<|im_start|>think\n{thinking}\n<|im_start|>answer\n{answer}<|im_end|>",
    ),
    "Qwen2.5": Family("plain", "llama/Qwen-Qwen2.5-7B-Instruct.jinja", _CHATML, own_vocabulary=True, turn="{answer}<|im_end|>"),
    "Qwen3": Family("qwen3", "llama/Qwen-Qwen3-0.6B.jinja", f"{_CHATML} <think> </think>", own_vocabulary=True, off=_OFF),
    "Qwen3-Thinking-2507": Family(
        "qwen3-thinking", "unsloth/qwen3_thinking_template", f"{_CHATML} <think> </think>", own_vocabulary=True
    ),
    "QwQ-32B": Family(
        "qwq", "llama/Qwen-QwQ-32B.jinja", f"{_CHATML} <think> </think>", own_vocabulary=True, beside=_EDITED,
        turn="{thinking}\n</think>\n\n{answer}<|im_end|>",
    ),
    "DeepSeek-R1-Distill-Qwen": Family(
        "r1", "llama/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", _R1, own_vocabulary=True, beside=_EDITED,
        turn="{thinking}\n</think>\n\n{answer}<｜end▁of▁sentence｜>",
    ),
    "DeepSeek-R1-Distill-Llama": Family(
        "r1", "llama/deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", _R1, "Llama 3", True,
        turn="{thinking}\n</think>\n\n{answer}<｜end▁of▁sentence｜>",
    ),
    "gpt-oss": Family(
        "gpt-oss", "llama/openai-gpt-oss-120b.jinja",
        "<|return|> <|start|> <|end|> <|message|> <|channel|> <|constrain|> <|call|> <|endoftext|>",
        others=tuple({"arguments": {"reasoning_effort": effort}} for effort in ("low", "high")),
    ),
    "Seed-OSS": Family(
        "seed-oss", "llama/ByteDance-Seed-OSS.jinja",
        "<seed:eos> <seed:bos> <seed:think> </seed:think> <seed:cot_budget_reflect> </seed:cot_budget_reflect>",
        off={"arguments": {"thinking_budget": 0}}, others=({"arguments": {"thinking_budget": 512}},),
    ),
    "Phi-4-reasoning": Family(
        "phi-4-reasoning", "axolotl/phi_4.jinja", f"{_CHATML} <|im_sep|> <think> </think>",
        turn="<think>\n{thinking}\n</think>\n\n{answer}<|im_end|>",
    ),
    "Magistral": Family(
        "magistral", "mistral/v13", "</s> <s> [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [INST] [/INST] [THINK] [/THINK]", "Tekken", True,
    ),
    "Nemotron Nano 2": Family(
        "nemotron", "llama/NVIDIA-Nemotron-Nano-v2.jinja", "<SPECIAL_12> <SPECIAL_10> <SPECIAL_11> <think> </think>", "Tekken",
        turn="{thinking}\n</think>\n{answer}\n<SPECIAL_12>", off={"system": "/no_think"},
    ),
    "Nemotron 3": Family(
        "nemotron", "llama/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja", f"{_CHATML} <think> </think>", "Tekken", off=_OFF
    ),
    "GLM-4.6": Family(
        "glm", "llama/GLM-4.6.jinja",
        "<|user|> <|endoftext|> <|observation|> [gMASK] <sop> <|system|> <|assistant|> <think> </think> /nothink", off=_OFF,
    ),
    "SmolLM3": Family(
        "smollm3", "llama/HuggingFaceTB-SmolLM3-3B.jinja", "<|im_end|> <|im_start|> <think> </think>", "Llama 3", True,
        turn="<think>\n{thinking}\n</think>\n{answer}<|im_end|>", off=_OFF,
    ),
    "Kimi-K2-Thinking": Family(
        "kimi-k2", "llama/Kimi-K2-Thinking.jinja",
        "<|im_end|> [EOS] <|im_user|> <|im_assistant|> <|im_system|> <|im_middle|> <think> </think>",
        turn="<think>{thinking}</think>{answer}<|im_end|>",
    ),
}  # fmt: skip


# --- where it comes from ---


def fetch(folder: Path) -> None:
    """Download and unpack what PACKAGES names."""
    for name in ("llama", "unsloth", "axolotl"):
        if not (home := folder / name).is_dir():
            kind = "--no-binary=llama-cpp-python" if name == "llama" else "--only-binary=:all:"  # the wheel has no templates
            pip("download", "--no-deps", kind, "--dest", str(folder / "downloads"), PACKAGES[name])
            archive = next((folder / "downloads").glob(f"{name}*"))
            if archive.suffix == ".whl":
                zipfile.ZipFile(archive).extractall(home)
            else:
                with tarfile.open(archive) as tar:
                    models = [m for m in tar if "/llama.cpp/models/" in m.name]
                    tar.extractall(home, models, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    if not (folder / "installed").is_dir():
        pip("install", "--target", str(folder / "installed"), PACKAGES["mistral"], PACKAGES["gguf"])
    sys.path.append(str(folder / "installed"))


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments], check=True)


def template(folder: Path, name: str) -> str:
    package, _, name = name.partition("/")
    if name.endswith(".jinja"):
        return next((folder / package).rglob(f"templates/{name}")).read_text(encoding="utf-8")
    if package == "unsloth":
        tree = ast.parse((folder / "unsloth/unsloth/chat_templates.py").read_text(encoding="utf-8"))
        said = [n.value for n in ast.walk(tree) if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == name]
        return ast.literal_eval(said[0])
    from mistral_common.integrations.chat_templates.template_generator import TemplateConfig, build_chat_template
    from mistral_common.tokens.tokenizers.base import TokenizerVersion

    return build_chat_template(TemplateConfig(TokenizerVersion(name), thinking_support=True, image_support=True))


@cache
def vocabulary(folder: Path, name: str):
    """From text to [(id, piece)]."""
    if name == "Tekken":
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        tekken = Tekkenizer.from_file(next((folder / "installed").rglob("tekken_240911.json")))
        return lambda text: [(i, tekken.id_to_byte_piece(i).decode()) for i in tekken.encode(text, bos=False, eos=False)]
    from gguf import GGUFReader
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    file = {"Qwen2.5": "qwen2", "Llama 3": "llama-bpe"}[name]
    fields = GGUFReader(next((folder / "llama").rglob(f"ggml-vocab-{file}.gguf"))).fields
    tokens, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges"))
    pairs = [tuple(pair.split(" ")) for pair in merges]
    made = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, pairs, ignore_merges=name == "Llama 3"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS[name]), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    return lambda text: [(i, made.decode([i])) for i in made.encode(text).ids]


# --- recording ---


def record(folder: Path) -> dict[str, Any]:
    fetch(folder)
    families = {name: recorded(family, template(folder, family.template)) for name, family in FAMILIES.items()}
    spelled: dict[str, dict[str, list]] = {name: {} for name in WORDS}
    for family in families.values():
        spell = vocabulary(folder, family["vocabulary"])
        for text in texts(family["chat"], family):
            for word in words(text, family["tokens"], family["vocabulary"]):
                if word not in family["tokens"]:
                    spelled[family["vocabulary"]][word] = spell(word)
    return {"packages": PACKAGES, "families": families, "words": {n: dict(sorted(w.items())) for n, w in spelled.items()}}


def recorded(family: Family, source: str) -> dict[str, Any]:
    """One family as rendered by transformers; a date is where «its format» stands."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokens = family.tokens.split()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({}, "")), chat_template=source, eos_token=tokens[0],
        bos_token=next((t for t in tokens if "begin" in t or t == "<s>"), None),
    )  # fmt: skip

    def render(messages, case, ask=True):
        if case.get("system") is not None:
            messages = [{"role": "system", "content": case["system"]}, *messages]
        arguments = {**family.beside, **case["arguments"]}
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=ask, strftime_now=lambda form: f"«{form}»", **arguments
        )

    asked = {"role": "user", "content": QUESTION}
    own = dict(chat_format(family.chat).arguments)
    cases = [{}, {"system": "Be brief."}, *([family.off] if family.off else []), *family.others]
    cases = [{"system": case.get("system"), "arguments": own | dict(case.get("arguments", {}))} for case in cases]
    prompts = [{**case, "text": shortened(render([asked], case))} for case in cases]
    turn = family.turn
    if turn is None:
        said = {"role": "assistant", "content": ANSWER, "reasoning_content": THINKING, "thinking": THINKING}
        prompt, whole = render([asked], cases[0]), render([asked, said], cases[0], ask=False)
        if not whole.startswith(prompt) or THINKING not in whole:
            raise SystemExit(f"{family.template}: writes no turn with thinking; Family.turn must say it")
        turn = whole.removeprefix(prompt).partition(tokens[0])[0] + tokens[0]
    else:
        turn = turn.format(thinking=THINKING, answer=ANSWER)
    return {
        "chat": family.chat,
        "template": family.template,
        "sha256": hashlib.sha256(source.encode()).hexdigest(),
        "reads_date": "strftime_now" in source,
        "turn_by_template": family.turn is None,
        "vocabulary": family.vocabulary,
        "own_vocabulary": family.own_vocabulary,
        "tokens": tokens,
        "prompts": prompts,
        "off": family.off is not None,
        "turn": turn,
        "answered": shortened(render([asked, {"role": "assistant", "content": ANSWER}], cases[0], ask=False)),
    }


def shortened(text: str) -> str:
    """Long lines without their middle: a template's own words are no business of these records."""
    return "\n".join(f"{x[:HEAD]} … {x[-TAIL:]}" if len(x) > HEAD + TAIL else x for x in text.split("\n"))


def texts(chat: str, family: Mapping[str, Any]) -> list[str]:
    """All that a test may want spelled."""
    format = chat_format(chat)
    own = [str(value) for value in vars(format).values() if isinstance(value, str)]
    prompts = [prompt["text"].replace("«%Y-%m-%d»", "2026-01-01 2025-12-31") for prompt in family["prompts"]]
    forced = [f"{CUT}{end}" for end in ("\n", ".", f"\n{format.thinking_end}{format.final_answer} 4")]
    more = ["<|im_end|>", "Wait", " so", "\n\n", " 4", *THINKING.split(), "Put the answer in a box.", "Final Answer:"]
    stops = [*format.thinking_stop, *format.answer_stop]
    return [*own, *stops, *prompts, family["turn"], family["answered"], *forced, THINKING, f" {THINKING}", ANSWER, *more]


# --- reading the record ---


class Recorded:
    """A tokenizer and chat template that know what was recorded of a family: all else is a KeyError."""

    def __init__(self, name: str, record: Mapping[str, Any] | None = None):
        record = record or load()
        self.family = record["families"][name]
        words = record["words"][self.family["vocabulary"]]
        self.words = {word: [i for i, _ in pieces] for word, pieces in words.items()}
        self.special = {token: 1_000_000 + i for i, token in enumerate(self.family["tokens"])}
        self.pieces = {i: piece for pieces in words.values() for i, piece in pieces} | {i: t for t, i in self.special.items()}
        self.eos_token_id = self.special[self.family["tokens"][0]]
        self.chat_template = "{{ strftime_now }}" if self.family["reads_date"] else "{{ messages }}"

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        ids = []
        for word in words(text, self.special, self.family["vocabulary"]):
            ids += [self.special[word]] if word in self.special else self.words[word]
        return ids

    def decode(self, ids, **_) -> str:
        return "".join(self.pieces[i] for i in ids)

    def apply_chat_template(self, messages, tokenize=False, add_generation_prompt=True, strftime_now=None, **arguments) -> str:
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        for prompt in self.family["prompts"]:
            if (prompt["system"], prompt["arguments"]) == (system, arguments):
                text = prompt["text"]
                if messages[-1]["role"] == "assistant":
                    text = self.family["answered"].replace(ANSWER, messages.pop()["content"])
                return re.sub("«(.*?)»", lambda m: strftime_now(m[1]), text.replace(QUESTION, messages[-1]["content"]))
        raise KeyError(f"{self.family['template']}: not recorded with system={system!r} {arguments}")


def words(text: str, tokens, vocabulary: str) -> list[str]:
    """Special tokens and words, in order."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    split, found = Split(Regex(WORDS[vocabulary]), "isolated"), []
    for part in re.split("(" + "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) + ")", text):
        found += [part] if part in tokens else [word for word, _ in split.pre_tokenize_str(part)] if part else []
    return found


def load() -> dict[str, Any]:
    return json.loads(RECORDED.read_text(encoding="utf-8"))


@cache
def chat_format(chat: str):
    """The format of `conf/chat`, put together as Hydra does it (which takes a second for each)."""
    from s1x.chat import ChatFormat

    def settings(name: str) -> dict[str, Any]:
        said = yaml.safe_load((ROOT / "conf" / "chat" / f"{name}.yaml").read_text(encoding="utf-8"))
        return {**(settings(said.pop("defaults")[0]) if "defaults" in said else {}), **said}

    return ChatFormat(**settings(chat))


def table() -> str:
    """docs/families.md's table."""
    from s1x.chat import Chat
    from s1x.methods.base import Ask

    record, rows = load(), []
    for name, family in record["families"].items():
        chat = Chat(chat_format(family["chat"]), Recorded(name, record), 4096)
        ask = Ask(chat.prompt(QUESTION), chat)
        end = ask.prompt.rendered.rpartition(QUESTION)[2]
        opened = shown(chat, ask.prompt.thinking_start) or ("in the prompt" if chat.thinking_end else "-")
        forced = chat.decode(ask.closing(chat.encode(CUT), forced=True))
        cells = [name, f"`chat={family['chat']}`", code(end), opened, shown(chat, chat.thinking_end) or "-", code(forced)]
        own = family["turn"].rpartition(THINKING)[2]
        rows.append(f"| {' | '.join(cells)} | {code(own)} |")
    head = "| family | format | behind the question | thinking opens | and closes | forced end | its own end and answer |"
    return "\n".join([head, "|---" * 7 + "|", *rows]) + "\n"


def shown(chat, ids) -> str:
    """Tokens, with their ids where these are words of the family's own vocabulary."""
    told = chat.tokenizer.family["own_vocabulary"]
    return " ".join(code(chat.decode((i,))) + (f" {i}" if told and i < 1_000_000 else "") for i in ids)


def code(text: str) -> str:
    return "`" + text.replace("\n", "\\n").replace("|", "\\|") + "`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "table"))
    parser.add_argument("--folder", type=Path, help="keep downloads here, and take those that are there")
    parser.add_argument("--write", action="store_true", help="put the table into docs/families.md")
    options = parser.parse_args()
    if options.what == "record":
        with tempfile.TemporaryDirectory() as other:
            folder = options.folder or Path(other)
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(record(folder), ensure_ascii=False, indent=1)
            text = re.sub(r"\[\s+(\d+),\s+(\".*?\")\s+\](,?)\s+", r"[\1, \2]\3 ", text)  # a word with its pieces is a line
            RECORDED.write_text(text.replace("[\n    [", "[[").replace("] ]", "]]") + "\n", encoding="utf-8")
        print(f"{RECORDED}: {len(FAMILIES)} families")
    elif options.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(re.sub(r"\| family \|.*?\n(?!\|)", lambda _: table(), page, flags=re.DOTALL), encoding="utf-8")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
