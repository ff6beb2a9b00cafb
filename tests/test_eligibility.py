"""Who may have an offer: what is read, whom it admits, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from subsight.eligibility import Condition, conditions
from subsight.errors import InputError


def admitted(text: str | None, **known: Any) -> bool:
    return all(condition.admits(known.get(condition.column)) for condition in conditions(text))


@pytest.mark.parametrize("text", [None, "", "  ", ";", " ; ; "])
def test_nothing_is_everybody(text: str | None) -> None:
    assert conditions(text) == ()
    assert admitted(text)


def test_conditions_are_read_in_any_case_and_spacing() -> None:
    assert conditions(" Segment = Gold , Very Loyal;MIN_dl_bytes=5e9 ; max_tenure_days= 365;") == (
        Condition("segment", ("Gold", "Very Loyal")),
        Condition("dl_bytes", low=5e9),
        Condition("tenure_days", high=365),
    )


@pytest.mark.parametrize(
    ("text", "known", "expected"),
    [
        ("segment=Gold,Platinum", {"segment": "platinum"}, True),
        ("segment=Gold,Platinum", {"segment": "Goldfish"}, False),
        ("segment=Gold,Platinum", {"segment": None}, False),
        ("segment=Gold,Platinum", {}, False),
        ("cluster=3", {"cluster": 3}, True),
        ("cluster=3", {"cluster": 3.0}, True),
        ("cluster=3", {"cluster": 3.5}, False),
        ("is_churned=false", {"is_churned": False}, True),
        ("applications=Netflix,YouTube", {"applications": ["TLS", "YouTube"]}, True),
        ("applications=Netflix,YouTube", {"applications": ["TLS"]}, False),
        ("applications=Netflix", {"applications": []}, False),
        ("min_dl_bytes=100", {"dl_bytes": 100}, True),
        ("min_dl_bytes=100", {"dl_bytes": 99.9}, False),
        ("max_dl_bytes=100", {"dl_bytes": 100}, True),
        ("max_dl_bytes=100", {"dl_bytes": 101}, False),
        ("max_dl_bytes=100", {"dl_bytes": float("nan")}, False),
        ("max_dl_bytes=100", {"dl_bytes": "50"}, False),
        ("min_dl_bytes=10; max_dl_bytes=20; plan=a", {"dl_bytes": 15, "plan": "A"}, True),
        ("min_dl_bytes=10; max_dl_bytes=20; plan=a", {"dl_bytes": 15, "plan": "b"}, False),
        ("min_dl_bytes=10; max_dl_bytes=20; plan=a", {"dl_bytes": 25, "plan": "a"}, False),
    ],
)
def test_whom_conditions_admit(text: str, known: dict[str, Any], expected: bool) -> None:
    assert admitted(text, **known) is expected


@pytest.mark.parametrize(
    "text",
    [
        "Gold",
        "=Gold",
        "segment=",
        "segment=Gold,,Platinum",
        "segment==Gold",
        "segment!=Gold",
        "dl_bytes>=5",
        "segment.name=Gold",
        "segment=Gold;segment=Platinum",
        "min_dl_bytes=much",
        "min_dl_bytes=",
        "min_dl_bytes=1,5",
        "min_dl_bytes=inf",
        "min_dl_bytes=nan",
        "min_=5",
        "min_dl_bytes=20;max_dl_bytes=10",
        "__import__('os')",
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError) as refused:
        conditions(text)
    assert refused.value.found
    assert refused.value.found in text
    assert refused.value.expected
