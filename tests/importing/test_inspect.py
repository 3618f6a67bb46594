"""inspect_ai's logs: written by inspect_ai itself, with its mock model, and read back."""

from __future__ import annotations

import json
import sys

import pytest

from .tables import cells

SAID = ["42", "7", "8", "13"]
TARGETS = ["42", "7", "9", "13"]
REASONED = [100, 50, 70, 30]


@pytest.fixture(scope="module", params=["eval", "json"])
def log(request, tmp_path_factory):
    """A log of four questions in two epochs, whose model thinks: (file, inspect's own accuracy)."""
    inspect_ai = pytest.importorskip("inspect_ai", reason="inspect_ai is not installed (pip install -e '.[import]')")
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatCompletionChoice as Choice
    from inspect_ai.model import ChatMessageAssistant, ContentReasoning, ContentText, ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate

    def output(messages, *_):
        at = int(messages[-1].text.split()[-1])
        content = [ContentReasoning(reasoning=f"I think about {at}."), ContentText(text=f"ANSWER: {SAID[at]}")]
        usage = ModelUsage(input_tokens=5, output_tokens=REASONED[at] + 4, total_tokens=9, reasoning_tokens=REASONED[at])
        message = ChatMessageAssistant(content=content)
        return ModelOutput(model="mockllm/thinker", choices=[Choice(message=message)], usage=usage)

    task = inspect_ai.Task(
        dataset=[Sample(id=f"q{at}", input=f"Question {at}", target=target) for at, target in enumerate(TARGETS)],
        solver=generate(),
        scorer=match(),
        epochs=2,
        name="sums",
    )
    (done,) = inspect_ai.eval(
        task,
        model=get_model("mockllm/thinker", custom_outputs=output),
        log_dir=str(tmp_path_factory.mktemp("logs")),
        log_format=request.param,
        display="none",
        reasoning_tokens=128,
    )
    assert done.status == "success"
    return done.location.removeprefix("file://"), done.results.scores[0].metrics["accuracy"].value


def test_a_log_becomes_a_cell_with_its_accuracy(command, tmp_path, log):
    file, accuracy = log
    status, said = command("stage=import", f"import.files=['{file}']", "import.format=inspect", "hydra.run.dir=out")
    assert (status, said) == (0, "")
    ((record, lines),) = cells(tmp_path / "out")
    assert record["accuracy"] == accuracy == 0.75
    assert (record["model"], record["task"], record["budget"], record["n_questions"]) == ("thinker", "sums", 128, 4)
    assert record["samples_per_question"] == 2 and [line["repeat"] for line in lines] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert record["thinking_tokens"]["mean"] == sum(REASONED) / 4 and record["answer_tokens"]["mean"] is None
    assert record["path_tokens"] == 2 * (sum(REASONED) + 16)
    first = lines[0]
    assert (first["doc"]["question"], first["target"], first["extracted"]) == ("Question 0", "42", "ANSWER: 42")
    assert [(s["kind"], s["text"], s["tokens"]) for s in first["segments"]] == [
        ("thinking", "I think about 0.", 100), ("answer", "ANSWER: 42", None)
    ]  # fmt: skip
    (row,) = json.loads((tmp_path / "out" / "summary.json").read_text())["metrics"]
    assert row["control"]["value"] == 1.0


def test_graded_here_it_is_the_same(command, tmp_path, log):
    typed = (f"import.files='{log[0]}'", "import.format=inspect", "import.regrade=true", "hydra.run.dir=out")
    assert command("stage=import", *typed) == (0, "")
    ((record, lines),) = cells(tmp_path / "out")
    assert record["accuracy"] == log[1] and record["source"]["regraded"] == {"answers": 8, "to_right": 0, "to_wrong": 0}


def test_a_damaged_log_and_an_unknown_scorer_are_sentences(command, tmp_path, log):
    broken = tmp_path / "broken.eval"
    broken.write_bytes(b"PK\x03\x04 and no more")
    status, said = command("stage=import", f"import.files={broken}", "import.format=inspect", "hydra.run.dir=out")
    assert status == 2 and said.count("\n") == 1 and "inspect_ai cannot read this log" in said
    typed = (f"import.files='{log[0]}'", "import.format=inspect", "import.metric=includes", "hydra.run.dir=out")
    status, said = command("stage=import", *typed)
    assert status == 2 and "has the scorers match" in said and not (tmp_path / "out").exists()


def test_where_it_is_not_installed_that_is_said(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    (tmp_path / "some.eval").write_bytes(b"PK")
    status, said = command("stage=import", "import.files=some.eval", "import.format=inspect", "hydra.run.dir=out")
    assert status == 2 and "inspect_ai, which reads its own logs, is not installed" in said
