"""All studies on one simulated operator: what they say to one another, and what they may not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from subsight import Insight
from subsight.answers import Answer
from subsight.pipeline.sessions import STUDIES
from subsight.simulate import Operator, simulate

# A column's name, with its unit at the end, stands in tables and never in a sentence.
RAW_NAME = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)*_(?:bytes|ms|s|kbps|share|count|id|score|index)\b")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Answer]:
    folder = tmp_path_factory.mktemp("operator")
    made = simulate(Operator(subscribers=600, sessions=5_000, seed=5), folder / "made")
    insight = Insight.open(folder / "ws", minimum_handset_subscribers=30)
    results = insight.run(made.sessions)
    return {answer.id: answer for study in STUDIES for answer in results.answers(study)}


def _lines(answer: Answer) -> str:
    return " ".join([*answer.reading, *(str(row.get("line", "")) for row in answer.rows)])


def test_the_memo_drops_no_line_for_want_of_an_answer(answers: Mapping[str, Answer]) -> None:
    limits = answers["memo.limits"]
    assert limits.facts["missing_count"] == 0, _lines(limits)
    assert "Lines were dropped" not in _lines(limits)
    recommendation = answers["memo.recommendation"].facts
    assert (recommendation["service_count"], recommendation["data_count"]) == (9, 11)
    assert "None" not in _lines(answers["memo.actions"]) + _lines(answers["memo.recommendation"])


def test_no_sentence_holds_a_column_name(answers: Mapping[str, Answer]) -> None:
    found = {id: RAW_NAME.findall(line) for id, answer in answers.items() for line in answer.reading}
    assert {id: names for id, names in found.items() if names} == {}


def test_the_second_period_is_predicted_from_the_first(answers: Mapping[str, Answer]) -> None:
    answer = answers["satisfaction.behaviour"]
    assert answer.facts["period"] == "second from first"
    assert "The second period's satisfaction is predicted from the first period's profile" in _lines(answer)
    features: list[Any] = [row["feature"] for row in answers["satisfaction.drivers"].rows]
    assert features
    assert all(name.startswith("first_") for name in features)


def test_every_row_of_the_memo_says_what_would_flip_it(answers: Mapping[str, Answer]) -> None:
    rows = [row for id, answer in answers.items() if id.startswith("memo.") for row in answer.rows]
    assert len(rows) > 20
    for row in rows:
        assert row["flips_when"], row["line"]
        assert row["evidence"].startswith(("quality", "contract")) or row["evidence"] in answers, row["line"]


def test_no_row_tells_of_a_small_group(answers: Mapping[str, Answer]) -> None:
    """Over the rows that share a label, either none or more than one is blanked."""
    for answer in answers.values():
        if answer.group_size is None or answer.ranks_subscribers:
            continue
        assert all(not 0 < (row[answer.group_size] or 0) < 15 for row in answer.rows), answer.id
        for label in ("application", "engagement_cluster", "local_hour", "decile", "variable"):
            families: dict[Any, list[Any]] = {}
            for row in answer.rows:
                if label in row:
                    families.setdefault(row[label], []).append(row[answer.group_size])
            for sizes in families.values():
                told = [size for size in sizes if size]
                assert sizes.count(None) != 1 or not told, (answer.id, label)
