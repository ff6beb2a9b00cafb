"""Handsets of the Experience study: how throughput and retransmission differ between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts, words
from subsight.studies.groups import group, moments, without
from subsight.studies.words import Group

__all__ = ["QUESTIONS"]

_LONGEST: Final = 200
_PLOTTED: Final = 15
_NAMED: Final = 3
_QUARTILES: Final = {"first_quartile": 0.25, "median": 0.5, "third_quartile": 0.75}
_THROUGHPUT: Final = "throughput_kbps"
_RETRANSMISSION: Final = "tcp_retransmission_bytes"
_RAW: Final = f"{_RETRANSMISSION}_raw"
_TOO_FEW: Final = "too few subscribers"
_ALONE: Final = "there are no others"

_TEXT: Final = {
    "throughput_by_handset": "How is throughput distributed on each handset?",
    "retransmission_by_handset": "How much is retransmitted on each handset?",
}


def _rows(
    inputs: Inputs, metrics: Sequence[str], extra: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Handsets with enough subscribers, the commonest first, and all subscribers of known handsets."""
    known = inputs.profiles.filter(~nw.col("handset").is_null(), ~nw.col(metrics[0]).is_null())
    measures = moments({metric: nw.col(metric) for metric in metrics})
    found = inputs.store.rows(
        known.group_by("handset")
        .agg(
            nw.len().alias("subscriber_count"),
            nw.col("handset_manufacturer").min().alias("handset_manufacturer"),
            **extra,
            **measures,
        )
        .filter(nw.col("subscriber_count") >= inputs.settings.minimum_handset_subscribers)
        .sort("subscriber_count", "handset", descending=[True, False])
        .head(_LONGEST)
    )
    return found, inputs.store.row(known.select(**measures))


def _judged(inputs: Inputs, found: Sequence[Mapping[str, Any]], whole: Group, metric: str) -> dict[str, str]:
    """Per handset the verdict against all other known handsets."""
    judged: dict[str, str] = {}
    for row in found:
        own = group(row, metric)
        if own.count >= inputs.settings.minimum_group:
            rest = without(whole, own)
            judged[row["handset"]] = words.compare(own, rest) if rest.count else _ALONE
    return judged


def _slow(
    inputs: Inputs, found: Sequence[Mapping[str, Any]]
) -> tuple[list[str], dict[str, float | str | None]]:
    """Handsets clearly slower than the one in the middle, which a few very fast ones do not move."""
    large = [row for row in found if row["subscriber_count"] >= inputs.settings.minimum_group]
    if not large:
        return [], {}
    ordered = sorted(large, key=lambda row: (row[f"{_THROUGHPUT}:mean"], row["handset"]))
    middle = ordered[len(ordered) // 2]
    typical = group(middle, _THROUGHPUT)
    slow = [row for row in ordered if words.compare(group(row, _THROUGHPUT), typical) == "lower"]
    facts = {"slow_handset_count": len(slow), "slow_handset": slow[0]["handset"] if slow else None,
             "middle_handset": middle["handset"]}  # fmt: skip
    against = f"the handset in the middle, {middle['handset']} ({words.say(typical.mean, _THROUGHPUT)})"
    if not slow:
        if words.compare(group(ordered[-1], _THROUGHPUT), typical) != "higher":
            return [], facts
        return [f"No handset is clearly slower than {against}."], facts
    worst = f"{slow[0]['handset']} ({words.say(slow[0][f'{_THROUGHPUT}:mean'], _THROUGHPUT)})"
    count = words.plural(len(slow), "handset is", "handsets are")
    return [f"{count} clearly slower than {against}; the slowest is {worst}."], facts


def _reading(
    judged: Mapping[str, str],
    found: Sequence[Mapping[str, Any]],
    metric: str,
    word: str,
    least: int,
) -> tuple[list[str], dict[str, float | str | None]]:
    if not found:
        return [f"No handset has {words.plural(least, 'subscriber')}, so none is compared."], {}
    means = {row["handset"]: row[f"{metric}:mean"] for row in found}
    reading = []
    facts: dict[str, float | str | None] = {"handset_count": len(found)}
    for side in ("higher", "lower"):
        names = [handset for handset, verdict in judged.items() if verdict == side]
        names.sort(key=lambda handset: (-means[handset] if side == "higher" else means[handset], handset))
        facts |= {f"{side}_handset_count": len(names), f"{side}_handset": names[0] if names else None}
        if names:
            shown = [f"{name} ({words.say(means[name], metric)})" for name in names[:_NAMED]]
            reading.append(
                f"{word} is clearly {side} on {words.plural(len(names), 'handset')} than on the others"
                f"{', most so on' if len(names) > 1 else ':'} {words.listing(shown)}."
            )
    same = sum(verdict == "no clear difference" for verdict in judged.values())
    if _ALONE in judged.values():
        reading.append("There are no other handsets to compare with.")
    elif same == len(judged) == 1:
        reading.append(f"{word} shows no clear difference between {next(iter(judged))} and the others.")
    elif same == len(judged):
        reading.append(f"{word} shows no clear difference between {words.plural(same, 'handset')}.")
    elif same:
        reading.append(f"{words.plural(same, 'handset shows', 'handsets show')} no clear difference.")
    return reading, facts


def _notes(inputs: Inputs, found: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    least = inputs.settings.minimum_handset_subscribers
    cut = f"; the {_LONGEST} commonest are shown" if len(found) == _LONGEST else ""
    return (
        f"Handsets with at least {words.plural(least, 'subscriber')}{cut}; a subscriber counts for the "
        "commonest handset of their sessions; unknown handsets are left out.",
        "A value is a subscriber's mean over sessions, downlink plus uplink, treated. The words compare a "
        "handset's mean with that of the subscribers of all other handsets.",
    )


def _throughput(inputs: Inputs) -> Answer:
    value = nw.col(_THROUGHPUT).cast(nw.Float64)
    extra = {name: value.quantile(q, interpolation="linear") for name, q in _QUARTILES.items()}
    found, everyone = _rows(inputs, [_THROUGHPUT], extra)
    judged = _judged(inputs, found, group(everyone, _THROUGHPUT), _THROUGHPUT)
    rows = [
        {"rank": i, "handset": row["handset"], "handset_manufacturer": row["handset_manufacturer"],
         "subscriber_count": row["subscriber_count"],
         **{f"{name}_{_THROUGHPUT}": row[name] for name in _QUARTILES},
         f"mean_{_THROUGHPUT}": row[f"{_THROUGHPUT}:mean"],
         "against_others": judged.get(row["handset"], _TOO_FEW)}
        for i, row in enumerate(found, 1)
    ]  # fmt: skip
    least = inputs.settings.minimum_handset_subscribers
    reading, facts = _reading(judged, found, _THROUGHPUT, "Mean throughput", least)
    said, slow = _slow(inputs, found)
    reading, facts = [*reading, *said], facts | slow
    # A bar from the first to the third quartile, and the median on it.
    boxes = charts.bars("handset", f"first_quartile_{_THROUGHPUT}")
    boxes["encoding"]["x2"] = {"field": f"third_quartile_{_THROUGHPUT}"}
    medians = charts.bars("handset", f"median_{_THROUGHPUT}")
    medians["mark"] = {"type": "tick", "thickness": 3, "color": "#e8934a"}
    for layer in (boxes, medians):
        layer["encoding"]["x"]["title"] = ["first to third quartile,", "median in orange"]
    chart = _first(charts.layers(boxes, medians))
    notes = (*_notes(inputs, found), "Quartiles by linear interpolation.")
    return Answer(
        "experience.throughput_by_handset", _TEXT["throughput_by_handset"], rows, tuple(reading), chart=chart,
        facts=facts, group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _retransmission(inputs: Inputs) -> Answer:
    extra = {"filled": nw.col("tcp_retransmission_filled_share").mean()}
    found, everyone = _rows(inputs, [_RETRANSMISSION, _RAW], extra)
    judged, raw = (
        _judged(inputs, found, group(everyone, metric), metric) for metric in (_RETRANSMISSION, _RAW)
    )
    rows = [
        {"rank": i, "handset": row["handset"], "handset_manufacturer": row["handset_manufacturer"],
         "subscriber_count": row["subscriber_count"],
         f"mean_{_RETRANSMISSION}": row[f"{_RETRANSMISSION}:mean"],
         "against_others": judged.get(row["handset"], _TOO_FEW),
         f"mean_{_RAW}": row[f"{_RAW}:mean"] if row["handset"] in raw else None,
         "raw_against_others": raw.get(row["handset"], _TOO_FEW),
         "observed_count": row[f"{_RAW}:count"], "mean_filled_share": row["filled"]}
        for i, row in enumerate(found, 1)
    ]  # fmt: skip
    least = inputs.settings.minimum_handset_subscribers
    reading, facts = _reading(judged, found, _RETRANSMISSION, "Mean retransmission", least)
    reading += _confirmed(judged, raw)
    notes = (
        *_notes(inputs, found),
        "observed_count: subscribers with a session in which both directions were observed: raw means are "
        "theirs. A mean over few observed sessions is pulled to the fill value.",
    )
    return Answer(
        "experience.retransmission_by_handset", _TEXT["retransmission_by_handset"], rows, tuple(reading),
        chart=_first(charts.bars("handset", f"mean_{_RETRANSMISSION}")), facts=facts,
        group_size="subscriber_count", notes=notes,
    )  # fmt: skip


def _confirmed(judged: Mapping[str, str], raw: Mapping[str, str]) -> list[str]:
    """Whether what the treated means say also stands where nothing is filled in."""
    claims = {name: verdict for name, verdict in judged.items() if verdict in ("higher", "lower")}
    if not claims:
        return []
    observed = {name: raw.get(name, _TOO_FEW) for name in claims}
    same = sum(observed[name] == verdict for name, verdict in claims.items())
    against = sum(
        sorted((observed[name], verdict)) == ["higher", "lower"] for name, verdict in claims.items()
    )
    rest = len(claims) - same - against
    text = f"Of {words.plural(len(claims), 'clear difference')}, the observed values alone confirm {same:,}"
    text += f" and contradict {against:,}" if against else ""
    if rest:
        text += f"; for {rest:,} they show none, so {'it rests' if rest == 1 else 'they rest'} on treatment"
    return [f"{text}."]


def _first(spec: dict[str, Any]) -> dict[str, Any]:
    """The chart of the commonest handsets only."""
    return spec | {"transform": [{"filter": f"datum.rank <= {_PLOTTED}"}]}


QUESTIONS: Final = (
    Question("experience.throughput_by_handset", _TEXT["throughput_by_handset"], _throughput, SUBSCRIBERS),
    Question(
        "experience.retransmission_by_handset",
        _TEXT["retransmission_by_handset"],
        _retransmission,
        SUBSCRIBERS,
    ),
)
