"""The second reader: whom it is asked about, what its verdict changes, and what happens when none comes."""

import json
import threading
import time

import pytest

from s1x.tasks import load_task, second
from s1x.tasks.second import check_judge, read_verdict

from .judging import JudgeServer, Told, closed_url

QUICK = {"retries": 1, "timeout_s": 20}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(second, "PAUSE_S", 0.01)


def mathematics(tmp_path, answers, judge, verdicts=None, lm_eval="math500"):
    """A task with one question for each of `answers`."""
    file = tmp_path / "questions.jsonl"
    column = "problem" if lm_eval == "math500" else "question"
    file.write_text("".join(json.dumps({column: f"Question {i}?", "answer": a}) + "\n" for i, a in enumerate(answers)))
    return load_task({"lm_eval": lm_eval, "file": str(file), "judge": judge}, verdicts)


def settings(server, **more):
    return {"url": server.url, "model": server.model} | QUICK | more


def same_words(key, answer):
    return "Verdict: right" if sorted(key.split()) == sorted(answer.split()) else "Verdict: wrong"


def test_it_is_asked_about_what_the_rules_call_different_or_cannot_read(tmp_path):
    with JudgeServer(lambda key, answer: f"Verdict: {'right' if answer.endswith('thrice one') else 'wrong'}") as server:
        task = mathematics(tmp_path, ["3", "4", "5", "6"], settings(server))
        texts = [r"\boxed{3}", r"\boxed{5}", r"\boxed{thrice one}", "I end with thrice one", "", "Answer: x", r"so \boxed{3.0}"]
        grades = task.grade([(task.questions[0], text) for text in texts])
        task.close()
    assert [g.score for g in grades] == [1, 0, 1, 1, 0, 0, 1]
    assert [g.reader for g in grades] == ["rules", "judge", "judge", "judge", "rules", "judge", "rules"]
    assert [g.judge for g in grades] == [None, "different", "same", "same", None, "different", None]
    assert [g.no_answer for g in grades] == [False, False, False, False, True, False, False]
    assert [g.metrics["exact_match"] for g in grades] == [g.score for g in grades]
    assert sorted(server.asked(body)[1] for body in server.requests) == ["5", "I end with thrice one", "thrice one", "x"]
    assert {server.asked(body)[0] for body in server.requests} == {"3"}
    (body,) = [b for b in server.requests if server.asked(b)[1] == "5"]
    assert (body["model"], body["temperature"]) == ("judge", 0) and "Question 0?" in body["messages"][0]["content"]


def test_other_tasks_have_it_too(tmp_path):
    with JudgeServer(lambda key, answer: "Verdict: right") as server:
        task = mathematics(tmp_path, ["12", "B"], settings(server), lm_eval="tiny_math")
        grades = task.grade([(task.questions[0], "Final Answer: a dozen"), (task.questions[1], "Answer: the second one")])
        task.close()
    assert [(g.score, g.no_answer, g.reader) for g in grades] == [(1, False, "judge")] * 2


def test_a_second_run_asks_nothing_and_another_judge_asks_again(tmp_path):
    def ask(model, **more):
        with JudgeServer(same_words, model=model) as server:
            task = mathematics(tmp_path, ["a b", "c d"], settings(server, **more), tmp_path / "verdicts")
            texts = [(q, rf"\boxed{{{a}}}") for q in task.questions for a in ("b or a", "b and c", "d c and")]
            grades = task.grade([*texts, *texts])
            task.close()
            return len(server.requests), [(g.score, g.judge) for g in grades]

    first = ask("one")
    assert first[0] == 6 and len(first[1]) == 12  # each once
    assert ask("one") == (0, first[1])
    assert ask("two")[0] == 6
    for path in (tmp_path / "verdicts").glob("one.*"):  # a kill in mid-line costs one verdict
        path.write_bytes(path.read_bytes()[:-5])
    asked, verdicts = ask("one")
    assert asked == 1 and verdicts == first[1]
    assert ask("one") == (0, first[1])
    assert ask("one", arguments={"seed": 3})[0] == 6  # another request


@pytest.fixture
def graded(tmp_path, caplog):
    """Grades answers to "a b" by two tasks of one command: (requests, verdicts, warnings)."""

    def grade(server, place, *answers):
        caplog.clear()
        second._warn.cache_clear()
        asked = len(server.requests)
        for _ in range(2):
            task = mathematics(tmp_path, ["a b"], settings(server), place)
            grades = task.grade([(task.questions[0], rf"\boxed{{{a}}}") for a in answers])
            task.close()
        return len(server.requests) - asked, [g.judge for g in grades], [r.getMessage() for r in caplog.records]

    return grade


def test_verdicts_that_cannot_be_written_are_read(read_only, graded):
    disk, protect = read_only
    with JudgeServer(same_words) as server:
        assert graded(server, disk / "verdicts", "b or a", "b and a b") == (2, ["different"] * 2, [])
        protect()
        assert graded(server, disk / "verdicts", "b or a", "b and a b") == (0, ["different"] * 2, [])  # all is there
        asked, found, said = graded(server, disk / "verdicts", "b or a", "b a, so to say", "b a b")
    assert asked == 4 and found == ["different"] * 3  # the new ones, by each of the two
    assert len(said) == 1 and "Read-only file system" in said[0] and "are only read there" in said[0], said


@pytest.mark.parametrize("fault", ["a file", "no parent", "a folder where a file should be"])
def test_a_place_for_verdicts_that_is_none_is_said_once(tmp_path, graded, fault):
    place = tmp_path / "store" / "verdicts"
    with JudgeServer(same_words) as server:
        if fault == "a file":
            place.parent.mkdir()
            place.write_text("no folder")
        elif fault == "no parent":
            place.parent.write_text("no folder")
        else:
            graded(server, place, "x")
            (file,) = place.iterdir()
            file.unlink()
            file.mkdir()
        asked, found, said = graded(server, place, "b or a", "b a b")
    assert asked == 4 and found == ["different"] * 2
    assert all(sentence.startswith("store.dir: ") for sentence in said) and 1 <= len(said) == len(set(said)) <= 2, said


def test_an_unreadable_verdict_leaves_that_of_the_rules(tmp_path):
    with JudgeServer(lambda key, answer: "I would rather not say") as server:
        for _ in range(2):  # what was said is kept, and is as unreadable
            task = mathematics(tmp_path, ["3"], settings(server), tmp_path / "verdicts")
            (grade,) = task.grade([(task.questions[0], r"\boxed{4}")])
            task.close()
            assert (grade.score, grade.reader, grade.judge) == (0, "rules", "none")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 429, 400, 401])
def test_a_judge_that_fails_is_said_once_and_the_rules_stand(tmp_path, status, caplog):
    def say(key, answer):
        raise Told(status, "no")

    with JudgeServer(say) as server:
        task = mathematics(tmp_path, ["3"], settings(server, in_flight=2), tmp_path / "verdicts")
        begun = time.monotonic()
        grades = task.grade([(task.questions[0], rf"\boxed{{x+{i}}}") for i in range(40)])
        assert time.monotonic() - begun < 20
        task.close()
    assert {(g.score, g.reader, g.judge) for g in grades} == {(0, "rules", "none")}
    assert caplog.text.count("the rules' stands") == 1 and f"HTTP status {status}" in caplog.text
    if status in (500, 429):
        assert len(server.requests) <= 8  # while nothing works, what waits is not asked
    assert not (tmp_path / "verdicts").exists()


def test_a_judge_that_fails_at_times_is_asked_again(tmp_path):
    seen = set()

    def say(key, answer):
        if answer not in seen:
            seen.add(answer)
            raise Told(503, "busy")
        return "Verdict: right"

    with JudgeServer(say) as server:
        task = mathematics(tmp_path, ["3"], settings(server))
        grades = task.grade([(task.questions[0], rf"\boxed{{x+{i}}}") for i in range(20)])
        task.close()
    assert {g.score for g in grades} == {1} and len(server.requests) == 40


def test_a_judge_that_hangs_ends_nothing(tmp_path):
    over = threading.Event()
    with JudgeServer(lambda key, answer: over.wait(20) and "") as server:
        task = mathematics(tmp_path, ["3"], settings(server, timeout_s=0.5))
        begun = time.monotonic()
        grades = task.grade([(task.questions[0], rf"\boxed{{x+{i}}}") for i in range(50)])
        assert time.monotonic() - begun < 10
        over.set()
        task.close()
    assert {(g.score, g.judge) for g in grades} == {(0, "none")}


def test_a_judge_that_is_gone_ends_nothing(tmp_path):
    def say(key, answer):
        raise ConnectionAbortedError

    with JudgeServer(say) as server:
        task = mathematics(tmp_path, ["3"], settings(server))
        (grade,) = task.grade([(task.questions[0], r"\boxed{4}")])
    (again,) = task.grade([(task.questions[0], r"\boxed{5}")])
    task.close()
    assert again.judge == "none"
    assert (grade.score, grade.judge) == (0, "none")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("Verdict: right", "same"),
        ("Verdict: wrong", "different"),
        ("**Verdict:** Right.", "same"),
        ("The key says 5.\nVerdict: wrong", "different"),
        ("right", "same"),
        ("Wrong.", "different"),
        ('{"verdict": "wrong"}', "different"),
        ("<think>Verdict: right? No.</think>\n\nVerdict: wrong", "different"),
        ("<think>It may be that Verdict: right", "none"),
        ("Verdict: not right", "none"),
        ("The answer is right", "none"),
        ("It is right, or wrong", "none"),
        ("", "none"),
    ],
)
def test_verdicts(said, verdict):
    assert read_verdict(said) == verdict


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ("http://localhost:8000", "task.judge=http://localhost:8000"),
        ({"model": "m"}, "task.judge.url=None"),
        ({"url": "localhost:8000", "model": "m"}, "task.judge.url=localhost:8000"),
        ({"url": "http://localhost:port", "model": "m"}, "task.judge.url="),
        ({"url": 8000, "model": "m"}, "task.judge.url=8000"),
        ({"url": "http://localhost"}, "task.judge.model=None"),
        ({"url": "http://localhost", "model": "m", "api_key": "x"}, "task.judge.api_key"),
        (
            {"url": "http://localhost", "model": "m", "api_key_env": "S1X_NO_SUCH_KEY"},
            "task.judge.api_key_env: no environment variable",
        ),
        ({"url": "http://localhost", "model": "m", "in_flight": 0}, "task.judge.in_flight=0"),
        ({"url": "http://localhost", "model": "m", "retries": 1.5}, "task.judge.retries=1.5"),
        ({"url": "http://localhost", "model": "m", "timeout_s": -1}, "task.judge.timeout_s=-1"),
        ({"url": "http://localhost", "model": "m", "arguments": [1]}, "task.judge.arguments"),
    ],
)
def test_wrong_settings_are_one_sentence(judge, words):
    with pytest.raises(ValueError) as error:
        check_judge(judge)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_keys_do_not_belong_into_addresses():
    with pytest.raises(ValueError) as error:
        check_judge({"url": "http://user:hush@localhost:8000", "model": "m"})
    assert "hush" not in str(error.value) and "api_key_env" in str(error.value)


def test_a_judge_that_cannot_be_asked_is_said_before_anything_is_graded(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "hush")
    with JudgeServer(same_words, key="another") as server, JudgeServer(same_words, lists=False) as silent:
        for judge, words in (
            (settings(server), "HTTP status 401"),
            (settings(server, api_key_env="JUDGE_KEY"), "HTTP status 401"),
            ({"url": closed_url(), "model": "judge"}, "no connection"),
        ):
            with pytest.raises(ValueError, match="task.judge.url=") as error:
                mathematics(tmp_path, ["3"], judge)
            assert words in str(error.value) and "hush" not in str(error.value) and "\n" not in str(error.value)
        server.key = "hush"
        with pytest.raises(ValueError, match="task.judge.model=other: .* has judge"):
            mathematics(tmp_path, ["3"], settings(server, api_key_env="JUDGE_KEY", model="other"))
        mathematics(tmp_path, ["3"], settings(server, api_key_env="JUDGE_KEY")).close()
        mathematics(tmp_path, ["3"], settings(silent)).close()  # a server need not list what it has
    assert server.requests == []
