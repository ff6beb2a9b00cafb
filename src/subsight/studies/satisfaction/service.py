"""Service levels, who is served how, and who may leave: the part of Satisfaction that a decision needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.store import Frame
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts, words
from subsight.studies.groups import group, moments, pooled, whole_share, without
from subsight.studies.words import Group

__all__ = ["AREAS", "INDICES", "NO_SCORES", "QUESTIONS", "SCORES", "at_most", "held",
           "means_of", "safe", "scored", "told", "unscored"]  # fmt: skip

AREAS: Final = ("engagement", "experience", "satisfaction")
SCORES: Final = tuple(f"{area}_score" for area in AREAS)
INDICES: Final = tuple(f"{area}_index" for area in AREAS)
# (metric, level, whether more is worse, where the level comes from)
_LEVELS: Final = (
    ("rtt_ms_raw", 300.0, True, "twice the one-way 150 ms of ITU-T G.114, over both directions"),
    ("throughput_kbps_raw", 1000.0, False, "a chosen level: 1 Mbps, downlink and uplink together"),
    ("retransmission_share", 0.02, True, "a chosen level: 2 % of the traffic sent twice"),
)

_WORDS: Final = {"rtt_ms": "Round-trip time", "throughput_kbps": "Throughput",
                 "retransmission_share": "Retransmission"}  # fmt: skip


def scored(inputs: Inputs) -> Frame | None:
    """The subscribers that have a satisfaction score, or None where the scores were not computed."""
    names = inputs.profiles.collect_schema().names()
    if not {*SCORES, *INDICES, *(f"{area}_cluster" for area in AREAS)} <= set(names):
        return None
    return inputs.profiles.filter(~nw.col("satisfaction_score").is_null())


def unscored(question: Question, why: str) -> Answer:
    """An answer without a table, that says why."""
    return Answer(question.id, question.text, [], (why,), notes=(why,))


NO_SCORES: Final = "There are no satisfaction scores: columns that they need are missing from the data."


def held(condition: Any) -> Any:
    """How many rows a condition holds for; null does not."""
    return nw.when(condition).then(1.0).otherwise(0.0).sum()


def means_of(columns: Sequence[str]) -> dict[str, Any]:
    """Aggregates from which `groups.group` makes each column's Group."""
    return moments({name: nw.col(name) for name in columns})


def _share(value: float | None) -> str:
    return words.say(value, "_share")


def safe(count: float | None, everyone: float, minimum: int) -> float | None:
    """A share that may be told, or None where the group behind it is too small."""
    return None if not everyone or 0 < (count or 0) < minimum else (count or 0) / everyone


def at_most(fact: str, count: float | None, everyone: float, minimum: int) -> dict[str, float | str | None]:
    """A fact that bounds a share which may not be told itself: nothing where it may."""
    hidden = everyone and 0 < (count or 0) < minimum
    return {f"{fact}_at_most": min(minimum / everyone, 1.0)} if hidden else {}


def told(share: float | None) -> str:
    """A share in words, or that it may not be told."""
    return "too few to report" if share is None else _share(share)


def _served(inputs: Inputs) -> Answer:
    q, frame = _QUESTIONS["served"], scored(inputs)
    if frame is None:
        return unscored(q, NO_SCORES)
    experience = inputs.models.get("experience", {}).get("parameters", {"worst": 0, "best": 2})
    cluster = nw.col("experience_cluster")
    marked = frame.with_columns(
        worst=nw.when(cluster == experience["worst"]).then(1.0).otherwise(0.0),
        best=nw.when(cluster == experience["best"]).then(1.0).otherwise(0.0),
    )
    grouped = marked.group_by("engagement_cluster").agg(**means_of(("experience_index", "worst", "best")))
    seen = sorted(inputs.store.rows(grouped), key=lambda row: row["engagement_cluster"])
    rows = [
        {"engagement_cluster": row["engagement_cluster"], "subscriber_count": group(row, "worst").count,
         "mean_experience_index": group(row, "experience_index").mean,
         **{f"{role}_experience_share": whole_share(group(row, role), inputs.settings.minimum_group)
            for role in ("worst", "best")}}
        for row in seen
    ]  # fmt: skip
    worst, best = (pooled(group(row, role) for row in seen) for role in ("worst", "best"))
    facts: dict[str, float | str | None] = {
        "subscriber_count": worst.count, "worst_experience_share": worst.mean,
        "best_experience_share": best.mean, "balance": best.mean - worst.mean,
        "balance_band": max(0.02, 3 * math.sqrt((best.mean + worst.mean) / max(worst.count, 1))),
    }  # fmt: skip
    reading = [
        f"{_share(best.mean)} of subscribers are in the best experience cluster and {_share(worst.mean)} in "
        "the worst."
    ]
    if len(seen) > 1 and min(row["subscriber_count"] for row in rows) >= inputs.settings.minimum_group:
        low, high = (group(seen[i], "experience_index") for i in (0, -1))
        verdict = words.compare(high, low)
        facts |= {"engaged_gap": high.mean - low.mean, "engaged_gap_band": words.least_gap(high, low),
                  "engaged_verdict": verdict}  # fmt: skip
        said = verdict if verdict == "no clear difference" else f"a clearly {verdict} experience index"
        reading.append(
            f"The most engaged against the least engaged: {said} "
            f"(mean {high.mean:.3g} against {low.mean:.3g})."
        )
    chart = charts.bars("engagement_cluster", "mean_experience_index", vertical=True)
    return Answer(q.id, q.text, rows, tuple(reading), chart, facts, "subscriber_count")


def _service_levels(inputs: Inputs) -> Answer:
    q = _QUESTIONS["service_levels"]
    names = set(inputs.profiles.collect_schema().names())
    needed = {"session_count", "total_bytes", *(f"{n}_raw" for n in ("rtt_ms", "throughput_kbps")),
              "tcp_retransmission_bytes_raw"}  # fmt: skip
    if not needed <= names:
        return unscored(
            q, "Service levels were not judged: measures that they need are missing from the data."
        )
    # Bytes per session sent again, over bytes per session: only where both are there.
    per_session = nw.col("total_bytes").cast(nw.Float64) / nw.col("session_count").cast(nw.Float64)
    again = nw.when(per_session > 0).then(nw.col("tcp_retransmission_bytes_raw") / per_session)
    frame = inputs.profiles.with_columns(retransmission_share=again)
    asked: dict[str, Any] = {"n": nw.len()}
    for name, level, more_is_worse, _ in _LEVELS:
        short = nw.col(name) > level if more_is_worse else nw.col(name) < level
        asked |= {f"{name}:seen": nw.col(name).count(), f"{name}:short": held(short)}
    seen = inputs.store.row(frame.select(**asked))
    rows, reading = [], []
    facts: dict[str, float | str | None] = {"subscriber_count": seen["n"]}
    least = inputs.settings.minimum_group
    for name, level, more_is_worse, source in _LEVELS:
        measured, count = int(seen[f"{name}:seen"] or 0), int(seen[f"{name}:short"] or 0)
        stem, is_few = name.removesuffix("_raw"), 0 < measured < least
        # Of all but a few it would be known who the others are.
        may_count = not is_few and not 0 < measured - count < least
        share = safe(count, measured, least) if may_count else None
        rows.append(
            {"measure": stem, "short_if": "above" if more_is_worse else "below", "level": level,
             "measured_subscriber_count": None if is_few else measured,
             "subscriber_count": count if may_count else None,
             "subscriber_share": count / measured if may_count and measured else None, "source": source}
        )  # fmt: skip
        facts |= {f"{stem}_short_share": share, f"{stem}_measured_count": None if is_few else measured}
        facts[f"{stem}_level"] = level
        facts[f"{stem}_short_count"] = None if share is None else count
        facts |= at_most(f"{stem}_short_share", count, measured, least) if may_count else {}
        if is_few:
            reading.append(f"{_WORDS[stem]}: measured of fewer than {least} subscribers, so nothing is told.")
        elif measured:
            side = "above" if more_is_worse else "below"
            who = f"{told(share)} of"
            if share is None:
                who = f"fewer than {least} of" if may_count else f"all but fewer than {least} of"
            reading.append(
                f"{_WORDS[stem]}: {who} the {words.plural(measured, 'measured subscriber')} lie "
                f"{side} {words.say(level, name)}."
            )
    notes = (
        "per subscriber, over sessions where both directions were observed: nothing filled in.",
        "a low mean throughput may mean little demand as well as little capacity.",
    )
    chart = charts.bars("measure", "subscriber_share")
    return Answer(q.id, q.text, rows, tuple(reading), chart, facts, "subscriber_count", notes=notes)


def _retention(inputs: Inputs) -> Answer:
    q, frame = _QUESTIONS["retention"], scored(inputs)
    if frame is None:
        return unscored(q, NO_SCORES)
    best = inputs.models["engagement"]["parameters"]["best"] if "engagement" in inputs.models else 2
    heavy = (nw.col("engagement_cluster") == best) & (nw.col("experience_cluster") == 0)
    marked = frame.with_columns(
        single=nw.when(nw.col("session_count") <= 1).then(1.0).otherwise(0.0),
        heavy=nw.when(heavy).then(1.0).otherwise(0.0),
    )
    grouped = marked.group_by("satisfaction_cluster", "heavy").agg(n=nw.len(), **means_of(_STAKE))
    seen, minimum = inputs.store.rows(grouped), inputs.settings.minimum_group
    rows = [_stake(label, seen, column, value) for label, (_, column, value) in _AT_RISK.items()]
    names = inputs.profiles.collect_schema().names()
    asked = sorted(n for n in names if {"churn", "churned", "feedback"} & set(n.split("_")))
    reading = [
        f"Hypothesis, not a finding: risk was not checked against {words.listing(asked)}."
        if asked
        else "Hypothesis, not a finding: the data hold neither churn nor feedback to check a risk against."
    ]
    everyone = pooled(group(row, "single") for row in seen)
    facts: dict[str, float | str | None] = {
        "single_session_share": everyone.mean, "subscriber_count": everyone.count
    }  # fmt: skip
    for row in rows:
        if row["subscriber_count"] < minimum:
            continue
        label = row["group"]
        facts |= {f"{_AT_RISK[label][0]}_{name}": value for name, value in row.items() if name != "group"}
        reading.append(
            f"{label[0].upper()}{label[1:]}: {row['risk_hypothesis']}; "
            f"{words.plural(row['subscriber_count'], 'subscriber')} ({_share(row['subscriber_share'])}) "
            f"with {_share(row['volume_share'])} of the volume, mean satisfaction index "
            f"{row['mean_satisfaction_index']:.3g}, experience index {row['mean_experience_index']:.3g}."
        )
    reading.append(f"{_share(everyone.mean)} of subscribers have one session only: little to judge them by.")
    notes = (
        "each group against all others: higher risk where satisfaction score and index and experience index "
        "are clearly lower or not clearly different, lower risk where higher, undecided where they disagree.",
    )
    return Answer(q.id, q.text, rows, tuple(reading), None, facts, "subscriber_count", notes=notes)


def _stake(label: str, seen: Sequence[Mapping[str, Any]], column: str, value: int) -> dict[str, Any]:
    whole = {name: pooled(group(row, name) for row in seen) for name in _STAKE}
    inside = {n: pooled(group(row, n) for row in seen if row[column] == value) for n in _STAKE}
    volume, everything = (g["total_bytes"].mean * g["total_bytes"].count for g in (inside, whole))
    count, everyone = inside["single"].count, whole["single"].count
    return {
        "group": label,
        "subscriber_count": count,
        "subscriber_share": count / everyone if everyone else None,
        "total_bytes": volume,
        "volume_share": volume / everything if everything else None,
        "single_session_share": inside["single"].mean,
        **{f"mean_{name}": inside[name].mean for name in _JUDGED},
        "risk_hypothesis": _risk(
            {name: (inside[name], without(whole[name], inside[name])) for name in _JUDGED}
        ),
    }


def _risk(sides: Mapping[str, tuple[Group, Group]]) -> str:
    """A guess against all others: the measures that differ clearly have to agree."""
    if not any(rest.count for _, rest in sides.values()):
        return "risk undecided, there is nobody to compare with"
    clear = {words.compare(*pair) for pair in sides.values()} - {"no clear difference"}
    if len(clear) > 1:
        return "risk undecided, the measures disagree"
    return {"lower": "higher risk", "higher": "lower risk"}.get("".join(clear), "no clear difference in risk")


# group -> prefix of its facts, and the column and value that make it
_AT_RISK: Final = {
    "less satisfied (cluster 0)": ("cluster_0", "satisfaction_cluster", 0),
    "more satisfied (cluster 1)": ("cluster_1", "satisfaction_cluster", 1),
    "most engaged and worst served": ("heavy_badly_served", "heavy", 1),
}
_JUDGED: Final = ("satisfaction_score", "satisfaction_index", "experience_index")
_STAKE: Final = (*_JUDGED, "total_bytes", "single")

QUESTIONS: Final = (
    Question("satisfaction.served", "Are the most engaged served as well as the others?", _served,
             SUBSCRIBERS),
    Question("satisfaction.service_levels", "How many subscribers miss service levels?", _service_levels,
             SUBSCRIBERS),
    Question("satisfaction.retention", "Which groups may be at risk of leaving (hypothesis)?", _retention,
             SUBSCRIBERS),
)  # fmt: skip
_QUESTIONS: Final = {question.id.partition(".")[2]: question for question in QUESTIONS}
