"""Planted truths through the whole path: reverse an effect and the words turn, remove it and they say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from subsight import Insight
from subsight.answers import Answer
from subsight.simulate import Operator, simulate

LEAST = 60
STUDIES = ["experience", "satisfaction", "memo"]


def run(folder: Path, effect: float) -> tuple[Mapping[str, Answer], set[str]]:
    """The answers on an operator with that handset effect, and which of its handsets are bad."""
    planted = Operator(subscribers=900, sessions=5_400, seed=3, handset_effect=effect, cell_effect=0)
    made = simulate(planted, folder / "made")
    insight = Insight.open(folder / "ws", minimum_handset_subscribers=LEAST, starts=2)
    results = insight.run(made.sessions, studies=STUDIES)
    bad = {row["handset"] for row in pq.read_table(made.handsets).to_pylist() if row["is_bad"]}
    return {a.id: a for study in STUDIES for a in results.answers(study)}, bad


def verdicts(answer: Answer, bad: set[str]) -> tuple[set[str], set[str]]:
    """What is said of the bad handsets and of the others."""
    said = {row["handset"]: row["against_others"] for row in answer.rows}
    assert set(said) & bad
    assert set(said) - bad
    return {v for name, v in said.items() if name in bad}, {v for name, v in said.items() if name not in bad}


def memo(answers: Mapping[str, Answer], name: str) -> str:
    return " ".join(answers[f"memo.{name}"].reading)


@pytest.mark.parametrize(
    ("effect", "throughput", "retransmission"), [(1, "lower", "higher"), (-1, "higher", "lower")]
)
def test_the_words_on_bad_handsets_turn_with_the_effect(
    tmp_path: Path, effect: float, throughput: str, retransmission: str
) -> None:
    answers, bad = run(tmp_path, effect)
    speed = answers["experience.throughput_by_handset"]
    assert verdicts(speed, bad)[0] == {throughput}
    assert throughput not in verdicts(speed, bad)[1]
    again = verdicts(answers["experience.retransmission_by_handset"], bad)
    assert again[0] == {retransmission}
    assert retransmission not in again[1]
    named = next(line for line in speed.reading if f"clearly {throughput} on" in line)
    assert any(handset in named for handset in bad)
    if effect > 0:
        assert speed.facts["slow_handset"] in bad
        assert "Many handsets are slow" in memo(answers, "technical_issues")
        assert f"Test the slowest handset ({speed.facts['slow_handset']})" in memo(answers, "actions")
    else:
        assert "Few handsets are slow" in memo(answers, "strengths")
        assert "handset" not in memo(answers, "actions")


def test_without_an_effect_no_handset_differs(tmp_path: Path) -> None:
    answers, bad = run(tmp_path, 0)
    for metric in ("throughput", "retransmission"):
        answer = answers[f"experience.{metric}_by_handset"]
        assert verdicts(answer, bad) == ({"no clear difference"}, {"no clear difference"})
        assert answer.reading[0].startswith(f"Mean {metric} shows no clear difference between")
    assert "Few handsets are slow" in memo(answers, "strengths")
    assert "handset" not in memo(answers, "actions")
