"""The closed table of target groups: which recency, frequency and usage scores make which group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

__all__ = ["GROUPS", "Scores", "TargetGroup", "group_expression", "group_of"]

Scores = tuple[int, int]
"""The lowest and the highest score, both part of it."""


@dataclass(frozen=True)
class TargetGroup:
    """Subscribers who are treated alike: its name, who they are, what to do, and the scores that make it.

    `boxes` are ranges of the recency, the frequency and the usage score; one of them has to hold.
    """

    name: str
    meaning: str
    treatment: str
    boxes: tuple[tuple[Scores, Scores, Scores], ...]

    def holds(self, recency: int, frequency: int, usage: int) -> bool:
        """Whether these three scores make the group."""
        scores = (recency, frequency, usage)
        return any(
            all(low <= score <= high for score, (low, high) in zip(scores, box, strict=True))
            for box in self.boxes
        )


_ANY: Final = (1, 5)
# After the groups that are commonly made of recency, frequency and monetary value (Hughes 1994), with
# usage in the place of money. The boxes are disjoint and cover all 125 combinations.
GROUPS: Final = (
    TargetGroup(
        "Champions", "used lately, on many days, with a large volume",
        "reward them; the first to be asked for premium plans and early access", (((4, 5), (4, 5), (4, 5)),),
    ),
    TargetGroup(
        "Loyal", "used lately and on many days, with a moderate or small volume",
        "thank for loyalty; content and family offers before larger volumes", (((4, 5), (4, 5), (1, 3)),),
    ),
    TargetGroup(
        "Potential loyalists", "used lately on some days, with a moderate or large volume",
        "offer a longer term or a larger allowance while the interest is there", (((4, 5), (2, 3), (3, 5)),),
    ),
    TargetGroup(
        "Promising", "used lately on some days, with a small volume",
        "show what the plan already holds; small trial offers", (((4, 5), (2, 3), (1, 2)),),
    ),
    TargetGroup(
        "New or occasional", "used lately, on fewer days than most: just begun, or seldom here",
        "accompany the start with set-up help; look at the date of joining before anything is sold",
        (((4, 5), (1, 1), _ANY),),
    ),
    TargetGroup(
        "Need attention", "regular users of some volume whose last use is a while ago",
        "ask for satisfaction and remind with an offer for a limited time", (((3, 3), (3, 5), (3, 5)),),
    ),
    TargetGroup(
        "About to sleep", "last use a while ago, and seldom or little before",
        "remind with content that they used; a smaller plan rather than none",
        (((3, 3), (1, 2), _ANY), ((3, 3), (3, 5), (1, 2))),
    ),
    TargetGroup(
        "Cannot lose", "were among the most frequent and heaviest users, and have gone quiet",
        "call them first: find out what is wrong before anything is sold", (((1, 2), (4, 5), (4, 5)),),
    ),
    TargetGroup(
        "At risk", "used regularly and with some volume, and have gone quiet",
        "contact in person with an offer to stay; check their service quality",
        (((1, 2), (3, 3), (3, 5)), ((1, 2), (4, 5), (3, 3))),
    ),
    TargetGroup(
        "Hibernating", "gone quiet, and seldom or little before",
        "one low-cost reminder; no discount", (((2, 2), (1, 2), _ANY), ((2, 2), (3, 5), (1, 2))),
    ),
    TargetGroup(
        "Lost", "quiet for the longest, and seldom or little before",
        "leave them out of paid campaigns; ask why they left",
        (((1, 1), (1, 2), _ANY), ((1, 1), (3, 5), (1, 2))),
    ),
)  # fmt: skip


def group_of(recency: int, frequency: int, usage: int) -> TargetGroup:
    """The group that three scores from 1 to 5 make.

    >>> group_of(5, 5, 5).name, group_of(1, 5, 5).name
    ('Champions', 'Cannot lose')
    """
    (group,) = (group for group in GROUPS if group.holds(recency, frequency, usage))
    return group


def group_expression() -> Any:
    """The group's name as an expression of `recency_score`, `frequency_score` and `usage_score`."""
    named: Any = nw.lit(None).cast(nw.String)
    for group in GROUPS:
        for box in group.boxes:
            named = nw.when(_inside(box)).then(nw.lit(group.name)).otherwise(named)
    return named


def _inside(box: tuple[Scores, Scores, Scores]) -> Any:
    parts: Any = None
    for name, (low, high) in zip(("recency", "frequency", "usage"), box, strict=True):
        part = (nw.col(f"{name}_score") >= low) & (nw.col(f"{name}_score") <= high)
        parts = part if parts is None else parts & part
    return parts
