"""Which handsets and manufacturers subscribers use, and what that means for marketing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts
from subsight.studies import hours as by_hour
from subsight.studies.groups import group, moments, without
from subsight.studies.words import LEAST_EFFECT, LEAST_ERRORS, compare, listing, plural, say

__all__ = ["QUESTIONS"]

_TOP: Final = 10
_MAKERS: Final = 3
_PER_MAKER: Final = 5
_UNRANKED: Final = (
    "Sessions whose handset is unknown are left out here and reported in overview.unknown_handsets."
)
_COUNTED: Final = (
    "A subscriber counts for every handset that one of their sessions names, so shares of subscribers may "
    "sum to more than 100 %."
)


def _place(frame: Frame, by: str, name: str, within: Sequence[str] = (), ties: str = "handset") -> Frame:
    """The frame with a rank from 1 by falling `by`; ties go to the smaller value."""
    frame = frame.with_columns(one=nw.lit(1.0), falling=nw.col(by).cast(nw.Float64) * -1.0)
    place = nw.col("one").cum_sum().over(*within, order_by=["falling", ties])
    return frame.with_columns(place.alias(name)).drop("one", "falling")


def _sessions(inputs: Inputs) -> Frame:
    """Sessions, or instead of them sums by day and handset."""
    return inputs.sessions if inputs.handsets is None else inputs.handsets


def _people(inputs: Inputs) -> str:
    """The column that counts subscribers: where days are summed, how many there are at least."""
    return "subscriber_count" if inputs.handsets is None else by_hour.LEAST


def _counts(inputs: Inputs) -> dict[str, Any]:
    if inputs.handsets is None:
        return {"session_count": nw.len(), _people(inputs): nw.col("subscriber_id").n_unique()}
    # Whole numbers again, as sessions are counted.
    sessions = by_hour.whole("session_count").cast(nw.Int64)
    return {"session_count": sessions, _people(inputs): by_hour.least_of()}


def _notes(inputs: Inputs, *of_all: str) -> tuple[str, ...]:
    """What has to be explained where subscribers are counted, or where they are not told apart."""
    return of_all if inputs.handsets is None else (by_hour.least_note("day and handset"),)


def _known(inputs: Inputs, column: str = "handset") -> dict[bool, dict[str, int]]:
    """Sessions and subscribers where a column is known and where it is not."""
    flagged = _sessions(inputs).with_columns(known=~nw.col(column).is_null())
    found = {row["known"]: row for row in inputs.store.rows(flagged.group_by("known").agg(**_counts(inputs)))}
    empty = {"session_count": 0, _people(inputs): 0}
    return {known: found.get(known, empty) for known in (True, False)}


def _leading(inputs: Inputs) -> list[dict[str, Any]]:
    """The top handsets by sessions and by subscribers, with both ranks."""
    named = _sessions(inputs).filter(~nw.col("handset").is_null())
    counted = named.group_by("handset").agg(
        handset_manufacturer=nw.col("handset_manufacturer").min(), **_counts(inputs)
    )
    placed = _place(_place(counted, "session_count", "sessions"), _people(inputs), "subscribers")
    top = placed.filter((nw.col("sessions") <= _TOP) | (nw.col("subscribers") <= _TOP))
    return inputs.store.rows(top)


def _spoken(inputs: Inputs, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that may be spoken of: groups large enough to be shown."""
    return [row for row in rows if row[_people(inputs)] >= inputs.settings.minimum_group]


def ahead(first: float, second: float) -> str:
    """How a larger count stands to the next: clearly ahead needs 20% and three Poisson errors."""
    clear = first - second >= max(LEAST_EFFECT * second, LEAST_ERRORS * math.sqrt(first + second))
    return "clearly ahead of" if clear and first > second else "with no clear difference from"


def _lead(inputs: Inputs, rows: Sequence[Mapping[str, Any]], name: str, count: str) -> str:
    """Who comes first by a count; groups too small to be shown are passed over, and that is said."""
    spoken = _spoken(inputs, rows)
    first = spoken[0]
    text = f"{first[name]} has most {count.removesuffix('_count')}s ({first[count]:,})"
    if first is not rows[0]:
        text = f"Of those with at least {plural(inputs.settings.minimum_group, 'subscriber')}, {text}"
    if len(spoken) < 2:
        return f"{text}."
    second = spoken[1]
    return f"{text}, {ahead(first[count], second[count])} {second[name]} ({second[count]:,})."


def handsets(inputs: Inputs) -> Answer:
    """The ten handsets with most sessions and, where these are told apart, the ten with most subscribers."""
    found, known, people = _leading(inputs), _known(inputs)[True], _people(inputs)
    are_told_apart = inputs.handsets is None
    rows = []
    for by in ("sessions", "subscribers") if are_told_apart else ("sessions",):
        chosen = sorted((row for row in found if row[by] <= _TOP), key=itemgetter(by))
        rows += [
            {
                "ranked_by": by,
                "rank": int(row[by]),
                "handset": row["handset"],
                "handset_manufacturer": row["handset_manufacturer"],
                "session_count": row["session_count"],
                "session_share": row["session_count"] / known["session_count"],
                people: row[people],
                **({"subscriber_share": row[people] / known[people]} if are_told_apart else {}),
            }
            for row in chosen
        ]
    reading, facts = _handset_reading(inputs, rows)
    chart = charts.bars("handset", "session_count")
    chart["transform"] = [{"filter": "datum.ranked_by === 'sessions'"}]
    return Answer(
        id="overview.handsets",
        question=HANDSETS.text,
        rows=rows,
        reading=tuple(reading),
        chart=chart,
        facts=facts,
        group_size=people,
        notes=(_UNRANKED, *_notes(inputs, _COUNTED)),
    )


def _handset_reading(
    inputs: Inputs, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[str], dict[str, float | str | None]]:
    lists: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        lists.setdefault(row["ranked_by"], []).append(row)
    spoken = {by: _spoken(inputs, own) for by, own in lists.items()}
    if not spoken or not all(spoken.values()):
        return ["No handset is used by enough subscribers to be named."], {}
    names = {by: [row["handset"] for row in lists[by]] for by in lists}
    together = sum(row["session_share"] for row in lists["sessions"])
    reading = [
        *(_lead(inputs, own, "handset", f"{by.removesuffix('s')}_count") for by, own in lists.items()),
        (
            f"The top {len(names['sessions'])} hold {say(together, 'session_share')} of the sessions with a "
            "known handset."
        ),
    ]
    if "subscribers" not in names:
        reading.append("Which have most subscribers is not known of a part of the days.")
    elif names["sessions"] == names["subscribers"]:
        reading.append("Sessions and subscribers rank the handsets alike.")
    else:
        common = len(set(names["sessions"]) & set(names["subscribers"]))
        reading.append(
            f"Sessions and subscribers rank them differently: {common} of {len(names['sessions'])} are in "
            "both lists."
        )
    facts = {
        "top_handset": spoken["sessions"][0]["handset"],
        "top_handset_session_share": spoken["sessions"][0]["session_share"],
        "top_handsets_session_share": together,
    }
    return reading, facts


def unknown_handsets(inputs: Inputs) -> Answer:
    """Sessions and subscribers without a known handset, apart from the rankings."""
    found, people = _known(inputs), _people(inputs)
    sessions = sum(part["session_count"] for part in found.values())
    rows: list[dict[str, Any]] = [
        {
            "handset": "known" if known else "unknown",
            "session_count": part["session_count"],
            "session_share": part["session_count"] / sessions if sessions else None,
            people: part[people],
        }
        for known, part in found.items()
    ]
    unknown = rows[1]
    small = 0 < unknown[people] < inputs.settings.minimum_group
    once, least = ("", "") if inputs.handsets is None else (" on one day", "at least ")
    if unknown["session_count"] == 0:
        reading = "Every session names its handset."
    elif small:
        reading = f"Too few subscribers have an unknown handset{once} to be counted here."
    else:
        reading = (
            f"{plural(unknown['session_count'], 'session')} "
            f"({say(unknown['session_share'], 'session_share')}) of "
            f"{least}{plural(unknown[people], 'subscriber')} name no handset: they are not ranked and "
            "not imputed."
        )
    return Answer(
        id="overview.unknown_handsets",
        question=UNKNOWN.text,
        rows=rows,
        reading=(reading,),
        facts=_unknown_facts(unknown["session_share"], small),
        group_size=people,
        notes=("A subscriber with sessions of both kinds counts in both rows.", *_notes(inputs)),
    )


def _unknown_facts(share: float | None, small: bool) -> dict[str, float | str | None]:
    """The share, or for a small group the next whole percent above it."""
    if small and share is not None:
        return {"unknown_handset_session_share_at_most": (math.floor(100 * share) + 1) / 100}
    return {"unknown_handset_session_share": share}


def _makers(inputs: Inputs) -> list[dict[str, Any]]:
    named = _sessions(inputs).filter(~nw.col("handset_manufacturer").is_null())
    counted = named.group_by("handset_manufacturer").agg(**_counts(inputs))
    placed = _place(counted, "session_count", "rank", ties="handset_manufacturer")
    placed = _place(placed, _people(inputs), "rank_by_subscribers", ties="handset_manufacturer")
    return inputs.store.rows(placed.filter(nw.col("rank") <= _MAKERS).sort("rank"))


def manufacturers(inputs: Inputs) -> Answer:
    """The three manufacturers with most sessions, and how they rank by subscribers."""
    known, people = _known(inputs, "handset_manufacturer")[True], _people(inputs)
    are_told_apart = inputs.handsets is None
    rows = [
        {
            "rank": int(row["rank"]),
            "handset_manufacturer": row["handset_manufacturer"],
            "session_count": row["session_count"],
            "session_share": row["session_count"] / known["session_count"],
            people: row[people],
        }
        | (_by_subscribers(row, known) if are_told_apart else {})
        for row in _makers(inputs)
    ]
    reading, spoken = [], _spoken(inputs, rows)
    facts: dict[str, float | str | None] = {}
    if spoken:
        together = sum(row["session_share"] for row in rows)
        ranked = ""
        if are_told_apart:
            same = all(row["rank"] == row["rank_by_subscribers"] for row in rows)
            ranked = f"; by subscribers they rank {'the same' if same else 'differently'}"
        reading = [
            _lead(inputs, rows, "handset_manufacturer", "session_count"),
            f"The first {len(rows)} hold {say(together, 'session_share')} of the sessions with a known "
            f"manufacturer{ranked}.",
        ]
        facts = {
            "top_manufacturer": spoken[0]["handset_manufacturer"],
            "top_manufacturers_session_share": together,
        }
    return Answer(
        id="overview.manufacturers",
        question=MANUFACTURERS.text,
        rows=rows,
        reading=tuple(reading) or ("No manufacturer is used by enough subscribers to be named.",),
        chart=charts.bars("handset_manufacturer", "session_count"),
        facts=facts,
        group_size=people,
        notes=(
            "Ranked by sessions. Sessions whose manufacturer is unknown are left out.",
            *_notes(inputs, _COUNTED),
        ),
    )


def _by_subscribers(row: Mapping[str, Any], known: Mapping[str, int]) -> dict[str, Any]:
    return {
        "subscriber_share": row["subscriber_count"] / known["subscriber_count"],
        "rank_by_subscribers": int(row["rank_by_subscribers"]),
    }


def manufacturer_handsets(inputs: Inputs) -> Answer:
    """The five handsets with most sessions of each of the three first manufacturers."""
    makers, people = {row["handset_manufacturer"]: row for row in _makers(inputs)}, _people(inputs)
    rows: list[dict[str, Any]] = []
    if makers:
        chosen = _sessions(inputs).filter(
            nw.col("handset_manufacturer").is_in(list(makers)) & ~nw.col("handset").is_null()
        )
        counted = chosen.group_by("handset_manufacturer", "handset").agg(**_counts(inputs))
        placed = _place(counted, "session_count", "rank", ["handset_manufacturer"])
        found = inputs.store.rows(placed.filter(nw.col("rank") <= _PER_MAKER))
        order = list(makers)
        found.sort(key=lambda row: (order.index(row["handset_manufacturer"]), row["rank"]))
        rows = [
            {
                "handset_manufacturer": row["handset_manufacturer"],
                "rank": int(row["rank"]),
                "handset": row["handset"],
                "session_count": row["session_count"],
                "manufacturer_session_share": row["session_count"]
                / makers[row["handset_manufacturer"]]["session_count"],
                people: row[people],
            }
            for row in found
        ]
    reading = []
    for maker in makers:
        own = [row for row in rows if row["handset_manufacturer"] == maker]
        if _spoken(inputs, own):
            together = sum(row["manufacturer_session_share"] for row in own)
            text = f"{maker}: {_lead(inputs, own, 'handset', 'session_count')}"
            reading.append(
                f"{text} The top {len(own)} hold {say(together, 'session_share')} of its sessions."
            )
    return Answer(
        id="overview.manufacturer_handsets",
        question=MANUFACTURER_HANDSETS.text,
        rows=rows,
        reading=tuple(reading) or ("No handset is used by enough subscribers to be named.",),
        chart=charts.bars("handset", "session_count", colour="handset_manufacturer", stacked=True),
        group_size=people,
        notes=("Manufacturers and handsets are ranked by sessions.", _UNRANKED, *_notes(inputs)),
    )


def marketing(inputs: Inputs) -> Answer:
    """What a manufacturer tells about use: each of the first three against all other subscribers."""
    rows = _brands(inputs)
    spoken = [row for row in rows if _both_shown(inputs, row)]
    reading = []
    if spoken:
        reading = [_reach(spoken), *(_use(row) for row in spoken), _target(spoken), _models(inputs)]
    return Answer(
        id="overview.marketing",
        question=MARKETING.text,
        rows=rows,
        reading=tuple(reading)
        or ("No manufacturer can be compared: it or all others have too few subscribers.",),
        chart=charts.bars("handset_manufacturer", "mean_total_bytes"),
        facts={"top_manufacturers_subscriber_share": sum(row["subscriber_share"] for row in spoken)}
        if spoken
        else {},
        group_size="subscriber_count",
        notes=(
            "A subscriber's manufacturer is that of their commonest handset; unknown handsets are left "
            f"out. A difference is clear from {LEAST_EFFECT} standard deviations and {LEAST_ERRORS:.0f} "
            "standard errors on.",
        ),
    )


def _models(inputs: Inputs) -> str:
    """Whether a few handset models are enough to reach most subscribers."""
    counted = inputs.profiles.group_by("handset").agg(subscriber_count=nw.len())
    counted = _place(counted.filter(~nw.col("handset").is_null()), "subscriber_count", "rank")
    top = nw.when(nw.col("rank") <= _TOP).then(nw.col("subscriber_count").cast(nw.Float64)).otherwise(0.0)
    found = inputs.store.row(
        counted.select(models=nw.len(), top=top.sum(), all=nw.col("subscriber_count").cast(nw.Float64).sum())
    )
    share = found["top"] / found["all"] if found["all"] else 0.0
    text = f"Of {plural(found['models'], 'handset model')}, the {min(_TOP, found['models'])} commonest reach "
    text += f"{say(share, 'subscriber_share')} of the subscribers with a known handset: "
    if share > 0.5:
        return f"{text}offers for single models meet most of them."
    return f"{text}offers for single models miss most of them."


def _brands(inputs: Inputs) -> list[dict[str, Any]]:
    """Use per subscriber of the three manufacturers with most subscribers, and of everyone else."""
    used = ("total_bytes", "session_count")
    named = inputs.profiles.filter(
        ~nw.col("handset_manufacturer").is_null() & ~nw.col("total_bytes").is_null()
    )
    parts = moments({name: nw.col(name) for name in used}) | {"count": nw.len()}
    per = _place(
        named.group_by("handset_manufacturer").agg(**parts), "count", "rank", ties="handset_manufacturer"
    )
    makers = inputs.store.rows(per.filter(nw.col("rank") <= _MAKERS).sort("rank"))
    if not makers:
        return []
    everyone = inputs.store.row(named.select(**parts))
    rows = []
    for maker in makers:
        row: dict[str, Any] = {
            "handset_manufacturer": maker["handset_manufacturer"],
            "subscriber_count": maker["count"],
            "subscriber_share": maker["count"] / everyone["count"],
        }
        for name in used:
            own = group(maker, name)
            others = without(group(everyone, name), own)
            row[f"mean_{name}"] = own.mean
            row[f"others_mean_{name}"] = others.mean
            row[f"{name.partition('_')[0]}_against_others"] = compare(own, others)
        rows.append(row | {"other_subscriber_count": everyone["count"] - maker["count"]})
    return [row if _both_shown(inputs, row) else _alone(row) for row in rows]


def _alone(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without what would tell of too few other subscribers."""
    return {name: None if "other" in name else value for name, value in row.items()}


def _both_shown(inputs: Inputs, row: Mapping[str, Any]) -> bool:
    sizes = row["subscriber_count"], row["other_subscriber_count"] or 0
    return bool(min(sizes) >= inputs.settings.minimum_group)


def _reach(rows: Sequence[Mapping[str, Any]]) -> str:
    share = sum(row["subscriber_share"] for row in rows)
    makers = listing([row["handset_manufacturer"] for row in rows])
    verdict = (
        "a campaign tied to these makers meets most subscribers."
        if share > 0.5
        else "a campaign tied to these makers misses most subscribers."
    )
    return (
        f"{makers} reach {say(share, 'subscriber_share')} of the subscribers with a known handset: {verdict}"
    )


def _use(row: Mapping[str, Any]) -> str:
    data, sessions = row["total_against_others"], row["session_against_others"]
    return (
        f"{row['handset_manufacturer']}: {say(row['mean_total_bytes'], 'total_bytes')} per subscriber "
        f"against {say(row['others_mean_total_bytes'], 'total_bytes')} for all others ({data}), "
        f"{row['mean_session_count']:.2f} sessions against {row['others_mean_session_count']:.2f} "
        f"({sessions})."
    )


def _target(rows: Sequence[Mapping[str, Any]]) -> str:
    named = {
        word: [row["handset_manufacturer"] for row in rows if row["total_against_others"] == word]
        for word in ("higher", "lower")
    }
    if not named["higher"] and not named["lower"]:
        return (
            "The manufacturer makes no clear difference to data use: choose whom to offer data by use, "
            "not by handset."
        )
    parts = []
    if named["higher"]:
        parts.append(
            f"larger data plans fit subscribers of {listing(named['higher'])}, whose use is clearly higher"
        )
    if named["lower"]:
        parts.append(
            f"offers that raise use fit subscribers of {listing(named['lower'])}, whose use is clearly lower"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


_PERIOD: Final = frozenset({"period"})
HANDSETS: Final = Question(
    "overview.handsets", "Which ten handsets have most sessions, and which most subscribers?", handsets,
    _PERIOD,
)  # fmt: skip
UNKNOWN: Final = Question(
    "overview.unknown_handsets", "How many sessions come from an unknown handset?", unknown_handsets, _PERIOD
)
MANUFACTURERS: Final = Question(
    "overview.manufacturers", "Which three manufacturers have most sessions?", manufacturers, _PERIOD
)
MANUFACTURER_HANDSETS: Final = Question(
    "overview.manufacturer_handsets", "Which five handsets lead at each of the top three manufacturers?",
    manufacturer_handsets, _PERIOD,
)  # fmt: skip
MARKETING: Final = Question(
    "overview.marketing", "What do handsets and manufacturers tell marketing?", marketing, SUBSCRIBERS
)
QUESTIONS: Final = (HANDSETS, UNKNOWN, MANUFACTURERS, MANUFACTURER_HANDSETS, MARKETING)
