"""The second reader on a real server. The tiny model's verdicts are nonsense; what is counted and kept is not."""

import pytest

from s1x.tasks import load_task

from ..engines.test_agreement import KEY, model, url  # noqa: F401
from .test_judge import mathematics

pytestmark = pytest.mark.vllm


def test_what_a_real_server_says_is_counted_and_kept(url, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("S1X_TEST_KEY", KEY)
    judge = {"url": f"{url}/v1", "model": "tiny-s1", "api_key_env": "S1X_TEST_KEY", "max_tokens": 40}
    found = []
    for _ in range(2):
        task = mathematics(tmp_path, ["3", "x+1"], judge, tmp_path / "verdicts")
        texts = [(q, text) for q in task.questions for text in (r"\boxed{3}", r"\boxed{1+x}", "It is hard to say", "")]
        found.append(task.grade(texts))
        asked = task.judge.asked
        assert asked == (4 if len(found) == 1 else 0)
        task.close()
    first, again = found
    assert first == again
    assert [g.judge is not None for g in first] == [False, True, True, False, True, False, True, False]
    assert [g.reader for g in first if g.judge is None] == ["rules"] * 4
    assert len("".join(p.read_text() for p in (tmp_path / "verdicts").iterdir()).split()) > 4
    for wrong, words in (
        ({"model": "another"}, "task.judge.model=another: the server at .* has tiny-s1"),
        ({"api_key_env": None}, "task.judge.url=.*401"),
    ):
        with pytest.raises(ValueError, match=words):
            load_task({"lm_eval": "math500", "file": str(tmp_path / "questions.jsonl"), "judge": judge | wrong})
