"""Published numbers: what a paper.yaml may say."""

import pytest

from s1x.report.paper import load_paper


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("points: []", "need `source`"),
        ("source: x\npoints: [{series: a, task: t, tokens: 5}]", "point 1 lacks accuracy"),
        ("source: x\npoints: [{series: a, task: t, tokens: 5, accuracy: 50}]", "accuracy is a fraction"),
        ("source: x\npoints: [{series: a, task: t, tokens: 0, accuracy: 1/2}]", "tokens are above 0"),
        ("source: x\npoints: [{series: a, task: t, tokens: 5, accuracy: 1/2, colour: red}]", "unknown keys colour"),
    ],
)
def test_faulty_published_numbers_are_sentences(tmp_path, text, message):
    path = tmp_path / "paper.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_paper(path)


def test_a_point_is_of_the_model_that_it_or_the_file_names(tmp_path):
    path = tmp_path / "paper.yaml"
    path.write_text(
        "source: x\nmodel: A\npoints:\n"
        "  - {series: a, task: t, tokens: 5, accuracy: 1/2}\n  - {series: a, task: t, tokens: 6, accuracy: 1/2, model: B}\n"
    )
    assert [p["model"] for p in load_paper(path)["points"]] == ["A", "B"]
