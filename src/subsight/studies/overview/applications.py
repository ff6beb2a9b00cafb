"""How applications relate: each against the total, with one another, and as principal components."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Any, Final

import narwhals as nw

from subsight.answers import Answer
from subsight.studies import SUBSCRIBERS, Inputs, Question, charts
from subsight.studies.overview.subscribers import with_decile
from subsight.studies.words import LEAST_EFFECT, Group, compare, correlation, listing, say

__all__ = ["QUESTIONS"]

_ENOUGH: Final = 0.8
_PART: Final = (
    "An application is part of the total, so its correlation with the total is above zero even where it "
    "is independent of all other traffic: that baseline is its standard deviation over the total's. The "
    "correlation with the rest (total less the application) is free of it."
)
_RAW: Final = "Raw sums per subscriber, downlink plus uplink; subscribers who lack a volume are left out."


@dataclass(frozen=True)
class _Joint:
    """Joint moments of columns over subscribers that have all of them: population covariances."""

    count: int
    means: Mapping[str, float]
    covariances: Mapping[tuple[str, str], float]

    def covariance(self, a: str, b: str) -> float:
        return self.covariances[(a, b) if (a, b) in self.covariances else (b, a)]

    def deviation(self, name: str) -> float:
        return math.sqrt(max(self.covariance(name, name), 0.0))

    def correlation(self, a: str, b: str) -> float | None:
        if a == b:
            return 1.0 if self.deviation(a) > 0 else None
        spread = self.deviation(a) * self.deviation(b)
        return max(-1.0, min(1.0, self.covariance(a, b) / spread)) if spread > 0 else None


def _joint(inputs: Inputs, names: Sequence[str]) -> _Joint:
    """All moments in one query, about centres that a first query gives, so that no digits cancel."""
    columns = [nw.col(name).cast(nw.Float64).alias(name) for name in names]
    whole = inputs.profiles.select(*columns).filter(*(~nw.col(name).is_null() for name in names))
    first = inputs.store.row(
        whole.select(*(nw.col(n).sum() for n in names), nw.len().alias("subscriber_count"))
    )
    count = int(first["subscriber_count"])
    if count == 0:
        return _Joint(0, {}, {})
    centres = {name: first[name] / count for name in names}
    centred = whole.select(*(nw.col(name) - centres[name] for name in names))
    pairs = list(combinations_with_replacement(range(len(names)), 2))
    products = {f"{i}:{j}": (nw.col(names[i]) * nw.col(names[j])).sum() for i, j in pairs}
    found = inputs.store.row(centred.select(**products))
    covariances = {(names[i], names[j]): found[f"{i}:{j}"] / count for i, j in pairs}
    return _Joint(count, centres, covariances)


def _observed(inputs: Inputs) -> dict[str, str]:
    """Volume column and name of each application that some session reports."""
    return {
        f"app_{app.slug}_bytes": app.name
        for app in inputs.contract.applications
        if {f"app_{app.slug}_dl_bytes", f"app_{app.slug}_ul_bytes"} <= set(inputs.treatment)
    }


def against_total(inputs: Inputs) -> Answer:
    """Each application's volume against total downlink plus uplink, over subscribers."""
    apps = _observed(inputs)
    joint = _joint(inputs, [*apps, "total_bytes"])
    rows = [_against(joint, column, name) for column, name in apps.items()] if joint.count else []
    rows.sort(key=lambda row: (-row["total_bytes_share"], row["application"]))
    chart = charts.bars("application", "r", colour="kind")
    kinds = ["correlation", "correlation_if_independent", "correlation_with_rest"]
    chart["transform"] = [{"fold": kinds, "as": ["kind", "r"]}]
    chart["encoding"]["x"] |= {"title": "Pearson r", "axis": {"format": ".1f"}}
    return Answer(
        id="overview.applications",
        question=AGAINST_TOTAL.text,
        rows=rows,
        reading=_against_reading(inputs, joint, rows),
        chart=chart,
        facts=_part_facts(rows),
        group_size="subscriber_count",
        notes=(
            _PART,
            f"{_RAW} Slope: bytes of the application per further byte of total, by least squares.",
        ),
    )


def _part_facts(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | str | None]:
    if not rows:
        return {}
    return {
        "applications_total_share": sum(row["total_bytes_share"] for row in rows),
        "largest_application": rows[0]["application"],
        "largest_application_total_share": rows[0]["total_bytes_share"],
    }


def _against(joint: _Joint, column: str, name: str) -> dict[str, Any]:
    total = "total_bytes"
    variance, covariance = joint.covariance(total, total), joint.covariance(column, total)
    own = joint.covariance(column, column)
    rest = variance + own - 2 * covariance
    # Where an application is all there is, what is left of the rest is rounding.
    spread = math.sqrt(own * rest) if own > 0 and rest > 1e-12 * variance else 0.0
    return {
        "application": name,
        "subscriber_count": joint.count,
        "bytes": joint.means[column] * joint.count,
        "total_bytes_share": joint.means[column] / joint.means[total] if joint.means[total] else 0.0,
        "correlation": joint.correlation(column, total),
        "correlation_if_independent": math.sqrt(own / variance) if variance > 0 else None,
        "correlation_with_rest": (covariance - own) / spread if spread else None,
        "slope": covariance / variance if variance > 0 else None,
    }


def _against_reading(inputs: Inputs, joint: _Joint, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    if not rows or joint.count < inputs.settings.minimum_group:
        return ("No application volumes are there for enough subscribers.",)
    first = rows[0]
    reading = [
        f"{first['application']} is the largest part: "
        f"{say(first['total_bytes_share'], 'total_share')} of total downlink plus uplink."
    ]
    known = [row for row in rows if row["correlation"] is not None]
    if known:
        most = max(known, key=lambda row: row["correlation"])
        reading.append(
            f"{most['application']} follows the total most closely (r = {most['correlation']:.2f}, "
            f"{correlation(most['correlation'], joint.count)}, slope {most['slope']:.2f}); as it is part "
            f"of the total, r would be {most['correlation_if_independent']:.2f} even if it were "
            "independent of all other traffic."
        )
    words: dict[str, list[str]] = {}
    for row in rows:
        words.setdefault(correlation(row["correlation_with_rest"], joint.count), []).append(
            row["application"]
        )
    parts = [f"{word} for {listing(names)}" for word, names in words.items()]
    reading.append(f"With the rest of the traffic there is {'; '.join(parts)}.")
    shares = sum(row["total_bytes_share"] for row in rows)
    if abs(shares - 1) > 0.001:
        reading.append(
            f"The applications sum to {say(shares, 'total_share')} of the total, not to all of it: the "
            "vendor's totals count other traffic."
        )
    return tuple(reading)


def application_deciles(inputs: Inputs) -> Answer:
    """Bytes per application in ten classes of subscribers by total data."""
    apps = _observed(inputs)
    found = _by_decile(inputs, apps) if apps else []
    rows = [
        {
            "decile": row["decile"],
            "application": name,
            "subscriber_count": row["subscriber_count"],
            "mean_bytes": row[f"{column}:sum"] / row["subscriber_count"],
            "mean_total_bytes": row["total"] / row["subscriber_count"],
            "total_bytes_share": row[f"{column}:sum"] / row["total"] if row["total"] else None,
        }
        for row in found
        for column, name in apps.items()
    ]
    chart = charts.lines("decile", "total_bytes_share", colour="application", kind="ordinal")
    chart["encoding"]["y"]["title"] = "share of the class's data"
    return Answer(
        id="overview.application_deciles",
        question=APPLICATION_DECILES.text,
        rows=rows,
        reading=_mix_reading(inputs, found, apps),
        chart=chart,
        group_size="subscriber_count",
        notes=(
            "Decile 10 holds the tenth of subscribers with most data; ties break by subscriber hash. The "
            "reading compares subscribers' own shares of data per application, the chart shows shares of a "
            f"class's whole data. {_RAW}",
        ),
    )


def _by_decile(inputs: Inputs, apps: Mapping[str, str]) -> list[dict[str, Any]]:
    """Sums of each application per decile of total data, and moments of its share of a subscriber's data."""
    used = (*apps, "total_bytes")
    columns = inputs.profiles.select("subscriber_hash", *(nw.col(name).cast(nw.Float64) for name in used))
    known = columns.filter(*(~nw.col(name).is_null() for name in used))
    total = nw.col("total_bytes")
    classed = with_decile(inputs, known, "total_bytes").with_columns(
        **{f"{name}:share": nw.col(name) / nw.when(total > 0).then(total) for name in apps}
    )
    parts: dict[str, Any] = {"subscriber_count": nw.len(), "total": total.sum()}
    for name in apps:
        share = nw.col(f"{name}:share")
        parts |= {f"{name}:sum": nw.col(name).sum(), f"{name}:deviation": share.std(ddof=0)}
        parts |= {f"{name}:count": share.count(), f"{name}:shares": share.sum()}
    return inputs.store.rows(classed.group_by("decile").agg(**parts).sort("decile"))


def _mix_reading(
    inputs: Inputs, found: Sequence[Mapping[str, Any]], apps: Mapping[str, str]
) -> tuple[str, ...]:
    if len(found) < 10 or min(row["subscriber_count"] for row in found) < inputs.settings.minimum_group:
        return ("There are too few subscribers for ten classes.",)

    def group(row: Mapping[str, Any], column: str) -> Group:
        count = row[f"{column}:count"]
        mean = row[f"{column}:shares"] / count if count else 0.0
        return Group(mean, row[f"{column}:deviation"] or 0.0, count)

    words: dict[str, list[str]] = {"higher": [], "lower": [], "no clear difference": []}
    for column, name in apps.items():
        least, most = group(found[0], column), group(found[-1], column)
        spoken = f"{name} ({say(least.mean, 'a_share')} to {say(most.mean, 'a_share')})"
        words[compare(most, least)].append(spoken)
    if not words["higher"] and not words["lower"]:
        return (
            "From the least to the most data there is no clear difference in the mix of applications: "
            "heavy users use more of everything.",
        )
    reading = []
    if words["higher"]:
        reading.append(
            f"From the least to the most data, the share is higher for {listing(words['higher'])}."
        )
    if words["lower"]:
        reading.append(f"From the least to the most data, the share is lower for {listing(words['lower'])}.")
    if words["no clear difference"]:
        reading.append(f"There is no clear difference for {listing(words['no clear difference'])}.")
    return tuple(reading)


def correlations(inputs: Inputs) -> Answer:
    """Pearson correlations of application volumes over subscribers."""
    apps = _observed(inputs)
    joint = _joint(inputs, list(apps)) if apps else _Joint(0, {}, {})
    slugs = {column: column.removeprefix("app_").removesuffix("_bytes") for column in apps}
    rows = [
        {"application": slugs[a], **{slugs[b]: joint.correlation(a, b) for b in apps},
         "subscriber_count": joint.count}
        for a in apps
        if joint.count
    ]  # fmt: skip
    pairs = [
        (value, apps[a], apps[b])
        for a, b in (combinations(apps, 2) if joint.count else ())
        if (value := joint.correlation(a, b)) is not None
    ]
    reading = ["No two application volumes vary over enough subscribers."]
    if pairs and joint.count >= inputs.settings.minimum_group:
        reading = _pair_reading(pairs, joint.count)
    values = [value for value, _, _ in pairs]
    facts = {"least_correlation": min(values), "most_correlation": max(values)} if values else {}
    chart = charts.heat("other_application", "application", "correlation", diverging=True)
    chart["transform"] = [{"fold": list(slugs.values()), "as": ["other_application", "correlation"]}]
    return Answer(
        id="overview.correlation",
        question=CORRELATION.text,
        rows=rows,
        reading=tuple(reading),
        chart=chart,
        facts=facts,
        group_size="subscriber_count",
        notes=(
            _RAW,
            "A subscriber with more sessions has more of everything, which alone correlates volumes.",
        ),
    )


def _pair_reading(pairs: Sequence[tuple[float, str, str]], count: int) -> list[str]:
    words: dict[str, int] = {}
    for value, _, _ in pairs:
        word = correlation(value, count)
        words[word] = words.get(word, 0) + 1
    most, least = max(pairs, key=lambda p: (abs(p[0]), p[1:])), min(pairs, key=lambda p: (abs(p[0]), p[1:]))
    counted = [f"{number} with {word}" for word, number in sorted(words.items(), key=lambda w: -w[1])]
    reading = [f"Of {len(pairs)} pairs of applications: {listing(counted)}."] if len(pairs) > 1 else []
    verb = "go together" if most[0] > 0 else "exclude one another"
    reading.append(f"{most[1]} and {most[2]} {verb} most (r = {most[0]:.2f}, {correlation(most[0], count)}).")
    if least != most:
        reading.append(f"{least[1]} and {least[2]} have least to do with one another (r = {least[0]:.2f}).")
    return reading


def components(inputs: Inputs) -> Answer:
    """Principal components of application volumes: explained shares, loadings, and what they say."""
    record = inputs.models.get("components")
    if record is None:
        return Answer(
            id="overview.components",
            question=COMPONENTS.text,
            rows=[],
            reading=("No components could be fitted: fewer than two application volumes vary.",),
            notes=("The model `components` is absent from this run.",),
        )
    slugs = [name.removeprefix("app_").removesuffix("_bytes") for name in record["features"]]
    shares, loadings = record["fit"]["explained_share"], record["parameters"]["components"]
    rows = [
        {
            "component": f"PC{i + 1}",
            "explained_share": share,
            "cumulative_share": math.fsum(shares[: i + 1]),
            **dict(zip(slugs, loadings[i], strict=True)),
        }
        for i, share in enumerate(shares)
    ]
    chart = charts.heat("application", "component", "loading", diverging=True)
    label = "datum.component + ' (' + format(datum.explained_share, '.0%') + ')'"
    chart["transform"] = [
        {"fold": slugs, "as": ["application", "loading"]},
        {"calculate": label, "as": "component"},
    ]
    names = {app.slug: app.name for app in inputs.contract.applications}
    reading = _component_bullets(
        shares, loadings, [names.get(slug, slug) for slug in slugs], record["fit"]["rows"]
    )
    return Answer(
        id="overview.components",
        question=COMPONENTS.text,
        rows=rows,
        reading=reading,
        chart=chart,
        facts={
            "first_component_explained_share": shares[0],
            "components_for_80_count": _needed(shares),
            "subscriber_count": record["fit"]["rows"],
        },
        notes=(
            "PCA on z-scores of raw sums per subscriber (the correlation matrix); each component's sign "
            "makes its largest loading positive. A component stands out where it explains clearly more "
            f"than an even share: by {100 * LEAST_EFFECT:.0f} % and by what chance would give unrelated "
            "volumes.",
        ),
    )


def _needed(shares: Sequence[float]) -> int:
    return next(i for i in range(1, len(shares) + 1) if math.fsum(shares[:i]) >= _ENOUGH - 1e-12)


def _component_bullets(
    shares: Sequence[float], loadings: Sequence[Sequence[float]], names: Sequence[str], rows: int
) -> tuple[str, ...]:
    even = 1 / len(shares)
    # The largest eigenvalue of unrelated columns stays near (1 + sqrt(p / n))^2 (Marchenko and Pastur 1967).
    bound = even * max(1 + LEAST_EFFECT, (1 + math.sqrt(len(shares) / max(rows, 1))) ** 2)
    stand_out = sum(share >= bound for share in shares)
    bullets = [
        f"The first component explains {say(shares[0], 'a_share')} of the variance where an even share "
        f"would be {say(even, 'a_share')}; {_needed(shares)} of {len(shares)} are needed for "
        f"{100 * _ENOUGH:.0f} %."
    ]
    if stand_out == 0:
        return (
            *bullets,
            "No component clearly stands out: the volumes are unrelated, and none can be left out.",
        )
    bullets.append(f"The first: {_describe(loadings[0], names)}.")
    if stand_out > 1:
        bullets.append(f"The second ({say(shares[1], 'a_share')}): {_describe(loadings[1], names)}.")
    else:
        bullets.append(
            "No further component clearly stands out: no other combination explains clearly more than an "
            "even share."
        )
    bullets.append(
        f"{stand_out} of {len(shares)} components stand{'s' if stand_out == 1 else ''} out and hold"
        f"{'s' if stand_out == 1 else ''} {say(math.fsum(shares[:stand_out]), 'a_share')}: "
        + ("few dimensions describe the volumes." if math.fsum(shares[:stand_out]) >= _ENOUGH
           else f"the volumes cannot be reduced to {'it' if stand_out == 1 else 'them'} without losing much.")
    )  # fmt: skip
    return tuple(bullets)


def _describe(loadings: Sequence[float], names: Sequence[str]) -> str:
    """What a component sets apart: the applications whose loading is at least half of the largest."""
    weighty = [(w, n) for w, n in zip(loadings, names, strict=True) if abs(w) >= max(map(abs, loadings)) / 2]
    up = [name for weight, name in sorted(weighty, key=lambda p: -p[0]) if weight > 0]
    down = [name for weight, name in sorted(weighty, key=lambda p: p[0]) if weight < 0]
    if down:
        return f"{listing(up)} against {listing(down)}"
    if len(up) == len(names):
        return "overall volume, since every application weighs on it with the same sign"
    return f"mostly {listing(up)}"


AGAINST_TOTAL: Final = Question(
    "overview.applications", "How does each application relate to total downlink plus uplink?", against_total,
    SUBSCRIBERS,
)  # fmt: skip
APPLICATION_DECILES: Final = Question(
    "overview.application_deciles", "Does the mix of applications change from light to heavy users?",
    application_deciles, SUBSCRIBERS,
)  # fmt: skip
CORRELATION: Final = Question(
    "overview.correlation", "How are the volumes of applications correlated?", correlations, SUBSCRIBERS
)
COMPONENTS: Final = Question(
    "overview.components", "How many dimensions do the application volumes have?", components
)
QUESTIONS: Final = (AGAINST_TOTAL, APPLICATION_DECILES, CORRELATION, COMPONENTS)
