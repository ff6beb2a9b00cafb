"""Every variable: what it is, what is missing, where its centre lies and how far it spreads.

Raw means the observed values; treated means the `_treated` twins under the run's policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import narwhals as nw

from subsight.answers import Answer
from subsight.contracts import Column
from subsight.studies import Inputs, Question, charts
from subsight.studies.words import LEAST_EFFECT, listing, named, plural, say
from subsight.units import format_value

__all__ = ["QUESTIONS", "lean", "measured"]

_NORMAL: Final = 1.349
"""Interquartile range of a normal distribution in standard deviations."""
_POLICIES: Final = {
    "mean": "missing values and outliers were replaced by the mean of the observed values",
    "median": "missing values and outliers were replaced by the median of the observed values",
    "winsorise": "outliers were moved to their fence and missing values replaced by the median",
    "none": "nothing was replaced",
}
_FENCES: Final = (
    "Outliers lie outside the 1.5 IQR fences; quartiles by linear interpolation of the observed values."
)


def lean(mean: float, median: float, first: float, third: float) -> Literal["raised", "lowered", "level"]:
    """Whether a tail raises or lowers the mean clearly away from the median.

    Clear is 0.2 of the standard deviation that the quartiles `first` and `third` would have in a
    normal distribution, which no tail can inflate.

    >>> lean(10, 5, 2, 8), lean(5.1, 5, 2, 8)
    ('raised', 'level')
    """
    least = LEAST_EFFECT * (third - first) / _NORMAL
    if mean == median or abs(mean - median) < least:
        return "level"
    return "raised" if mean > median else "lowered"


def measured(inputs: Inputs) -> list[str]:
    """The numeric variables that were observed, in the contract's order."""
    return [column.name for column in inputs.contract if column.name in inputs.treatment]


def _purpose(name: str) -> str:
    """What the studies use a variable for."""
    if name in ("duration_s", "dl_bytes", "ul_bytes"):
        return "engagement"
    if name.startswith("app_"):
        return "applications"
    if name.startswith(("rtt_", "throughput_", "tcp_retransmission_")):
        return "experience"
    if name.startswith("activity_") or name.endswith("_kbps_share"):
        return "satisfaction model"
    if name in ("handset", "handset_manufacturer", "tac"):
        return "handsets"
    if name in ("start_at", "local_date", "local_hour"):
        return "coverage"
    if name in ("subscriber_id", "imsi_id", "imei_id", "bearer_id"):
        return "identification"
    return "capacity" if name == "cell_id" else "description"


def variables(inputs: Inputs) -> Answer:
    """Type, unit, meaning, missing and outlier counts of every variable."""
    columns = [column for column in inputs.contract if not column.internal]
    others = [column.name for column in columns if column.name not in inputs.treatment]
    counts = {name: nw.col(name).count() for name in others}
    found = inputs.store.row(inputs.sessions.select(all_sessions=nw.len(), **counts))
    sessions = int(found["all_sessions"])
    rows = [_variable(inputs, column, found, sessions) for column in columns]
    chart = charts.bars("variable", "missing_share")
    chart["transform"] = [{"filter": "datum.missing_share > 0"}]
    return Answer(
        id="overview.variables",
        question=VARIABLES.text,
        rows=rows,
        reading=_variables_reading(inputs, rows),
        chart=chart,
        facts={
            "session_count": sessions,
            "variable_count": len(rows),
            "missing_value_count": sum(
                row["missing_count"] for row in rows if row["outlier_count"] is not None
            ),
            "outlier_value_count": sum(row["outlier_count"] or 0 for row in rows),
        },
        notes=(
            "Over sessions that have a subscriber. An outlier count of none: the variable is no measure. "
            "The facts count values of measures only.",
            _FENCES,
        ),
    )


def _variable(inputs: Inputs, column: Column, found: Mapping[str, Any], sessions: int) -> dict[str, Any]:
    fitted = inputs.treatment.get(column.name)
    observed = int(fitted["observed_count"] if fitted else found[column.name])
    outliers = int(fitted["outlier_count"]) if fitted else None
    return {
        "variable": column.name,
        "type": column.kind,
        "unit": column.unit,
        "meaning": column.meaning,
        "used_for": _purpose(column.name),
        "observed_count": observed,
        "missing_count": sessions - observed,
        "missing_share": (sessions - observed) / sessions if sessions else None,
        "outlier_count": outliers,
        "outlier_share": outliers / observed if outliers is not None and observed else None,
    }


def _variables_reading(inputs: Inputs, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    reading = [f"The extract has {plural(len(rows), 'variable')}."]
    never = [row["variable"] for row in rows if not row["observed_count"]]
    if never:
        reading.append(f"Never observed: {listing(_named(inputs, never))}.")
    seen = [row for row in rows if row["observed_count"]]
    gaps = [row for row in seen if row["missing_count"]]
    if gaps:
        half = [row["variable"] for row in gaps if row["missing_share"] >= 0.5]
        most = max(gaps, key=lambda row: row["missing_count"])
        reading.append(
            f"{len(gaps)} of {len(seen)} observed variables have gaps, the widest in "
            f"{_said(inputs, most)} ({say(most['missing_share'], 'missing_share')} missing)."
        )
        if half:
            reading.append(
                f"At least half of the values are missing of {listing(_named(inputs, half))}: "
                "conclusions from them rest on what is left."
            )
    else:
        reading.append("No observed variable has gaps.")
    tails = [row for row in seen if row["outlier_count"]]
    if tails:
        most = max(tails, key=lambda row: row["outlier_share"])
        reading.append(
            f"{len(tails)} measures have outliers, the largest share in {_said(inputs, most)} "
            f"({say(most['outlier_share'], 'outlier_share')} of what was observed)."
        )
    else:
        reading.append("No measure has outliers.")
    policy = inputs.settings.treatment
    return (*reading, f"Treatment under the policy `{policy}`: {_POLICIES[policy]}.")


# Centre


def centre(inputs: Inputs) -> Answer:
    """Mean, median and mode of every measure, raw and treated, and which of them to go by."""
    names = measured(inputs)
    parts: dict[str, Any] = {}
    for name in names:
        value = nw.col(f"{name}_treated").cast(nw.Float64)
        fill = inputs.treatment[name]["fill"]
        parts |= {f"{name}:sum": value.sum(), f"{name}:count": value.count()}
        parts[f"{name}:fills"] = (value == (math.inf if fill is None else fill)).cast(nw.Float64).sum()
    found = inputs.store.row(inputs.sessions.select(**parts)) if names else {}
    for name, (median,) in _treated_quantiles(inputs, names, (0.5,)).items():
        found[f"{name}:median"] = median
    modes = _modes(inputs, names, found)
    rows = [_centre_row(inputs, name, found, modes) for name in names]
    words = [row["mean_against_median"] for row in rows]
    return Answer(
        id="overview.centre",
        question=CENTRE.text,
        rows=rows,
        reading=_centre_reading(inputs, rows),
        facts={f"{word}_variable_count": words.count(word) for word in ("raised", "lowered", "level")},
        notes=(
            "Mode: the commonest value, the smallest of those equally common; a mode count of 1 says that "
            "no value repeats, and the mode then tells nothing. Categories have theirs in "
            "overview.categories.",
            f"The mean counts as raised or lowered from {LEAST_EFFECT} standard deviations off the median "
            "on, the deviation taken from the quartiles. Importance names the study that uses the "
            "variable.",
            f"Treated: {_POLICIES[inputs.settings.treatment]}. {_FENCES}",
        ),
    )


def _treated_quantiles(
    inputs: Inputs, names: Sequence[str], levels: Sequence[float]
) -> dict[str, list[float | None]]:
    """Quantiles of the treated values by measure."""
    if not names:
        return {}
    found = inputs.store.quantiles(inputs.sessions, [f"{name}_treated" for name in names], levels)
    return {name: found[f"{name}_treated"] for name in names}


def _commonest(inputs: Inputs, names: Sequence[str]) -> dict[str, tuple[float, int]]:
    """The commonest value and its count per column, all columns in one query."""
    if not names:
        return {}
    parts = []
    for name in names:
        value = inputs.sessions.select(value=nw.col(name).cast(nw.Float64)).filter(~nw.col("value").is_null())
        counted = value.group_by("value").agg(count=nw.len().cast(nw.Int64))
        first = counted.sort("count", "value", descending=[True, False]).head(1)
        parts.append(first.select("value", "count", variable=nw.lit(name)))
    return {row["variable"]: (row["value"], row["count"]) for row in inputs.store.rows(nw.concat(parts))}


def _modes(
    inputs: Inputs, names: Sequence[str], found: Mapping[str, Any]
) -> dict[str, tuple[float | None, int]]:
    """Modes by column, raw and treated.

    Treatment makes no value commoner but the fill, so most treated modes follow from the raw ones;
    only the others are counted.
    """
    raw = _commonest(inputs, names)
    modes: dict[str, tuple[float | None, int]] = {name: raw.get(name, (None, 0)) for name in names}
    open_names = []
    for name in names:
        treatment, fills, (_, most) = inputs.treatment[name], int(found[f"{name}:fills"] or 0), modes[name]
        unchanged = not treatment["missing_count"] and not treatment["outlier_count"]
        if unchanged or inputs.settings.treatment == "none":
            modes[f"{name}_treated"] = modes[name]
        elif inputs.settings.treatment in ("mean", "median") and fills > most:
            modes[f"{name}_treated"] = treatment["fill"], fills
        else:
            open_names.append(f"{name}_treated")
    return modes | _commonest(inputs, open_names)


def _centre_row(
    inputs: Inputs, name: str, found: Mapping[str, Any], modes: Mapping[str, tuple[float | None, int]]
) -> dict[str, Any]:
    fitted, column = inputs.treatment[name], inputs.contract[name]
    count = found[f"{name}:count"]
    word = lean(fitted["mean"], fitted["median"], fitted["first_quartile"], fitted["third_quartile"])
    (raw, raw_count), (treated, treated_count) = modes[name], modes[f"{name}_treated"]
    return {
        "variable": name,
        "unit": column.unit,
        "mean_raw": fitted["mean"],
        "mean_treated": found[f"{name}:sum"] / count if count else None,
        "median_raw": fitted["median"],
        "median_treated": found[f"{name}:median"],
        "mode_raw": raw,
        "mode_treated": treated,
        "mode_raw_count": raw_count,
        "mode_treated_count": treated_count,
        "mean_against_median": word,
        "importance": f"{_purpose(name)}: {_IMPORTANCE[word]}",
    }


_IMPORTANCE: Final = {
    "raised": "the median is the typical session, the mean the load that large ones bring",
    "lowered": "the median is the typical session, the mean is lowered by small ones",
    "level": "mean and median tell the same, either is typical",
}


def _centre_reading(inputs: Inputs, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    words = {word: [row for row in rows if row["mean_against_median"] == word]
             for word in ("raised", "lowered", "level")}  # fmt: skip
    reading = []
    if not rows:
        return ("No measure was observed.",)
    for word, cause in (("raised", "large"), ("lowered", "small")):
        if words[word]:
            reading.append(
                f"Of {plural(len(rows), 'measure')}, the mean of {len(words[word])} is {word} by {cause} "
                f"values: {_shortened(_named(inputs, [row['variable'] for row in words[word]]))}. "
                "For these the median is the typical session."
            )
    if words["level"]:
        only = "" if len(words["level"]) < len(rows) else " (all)"
        reading.append(f"{len(words['level'])}{only} show no clear difference between mean and median.")
    for goal in ("engagement", "experience"):
        own = [row for row in rows if _purpose(row["variable"]) == goal]
        if own:
            reading.append(f"For {goal}: {'; '.join(_typical(inputs, row) for row in own)}.")
    filled = [row["variable"] for row in rows if _is_fill_in(inputs, row)]
    if filled:
        reading.append(
            f"Half or more of the treated values are fill-in for {listing(_named(inputs, filled))}: their "
            "treated mean, median and mode describe the fill, not the network."
        )
    return tuple(reading)


def _shortened(names: Sequence[str], most: int = 6) -> str:
    return listing(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _said(inputs: Inputs, row: Mapping[str, Any]) -> str:
    return named(row["variable"], inputs.contract.applications)


def _named(inputs: Inputs, names: Sequence[str]) -> list[str]:
    return [named(name, inputs.contract.applications) for name in names]


def _typical(inputs: Inputs, row: Mapping[str, Any]) -> str:
    name = _said(inputs, row)
    mean, median = (format_value(row[f"{kind}_raw"], row["unit"]) for kind in ("mean", "median"))
    if row["mean_against_median"] == "level":
        return f"{name} has mean {mean} and median {median}, no clear difference"
    return f"{name} has median {median} and mean {mean} ({row['mean_against_median']})"


def _is_fill_in(inputs: Inputs, row: Mapping[str, Any]) -> bool:
    if inputs.settings.treatment == "none":
        return False
    fitted = inputs.treatment[row["variable"]]
    missing, outliers, observed = (fitted[f"{key}_count"] for key in ("missing", "outlier", "observed"))
    replaced = missing + (0 if inputs.settings.treatment == "winsorise" else outliers)
    return bool(2 * replaced >= missing + observed)


# Dispersion


def dispersion(inputs: Inputs) -> Answer:
    """Range, variance, standard deviation, IQR, coefficient of variation, skew and kurtosis."""
    names = measured(inputs)
    raw, treated = (_moments(inputs, names, suffix) for suffix in ("", "_treated"))
    rows = [
        {"variable": name, "unit": inputs.contract[name].unit} | dict(_paired(raw[name], treated[name]))
        for name in names
    ]
    chart = charts.bars("variable", "coefficient_of_variation", colour="values")
    kinds = ["coefficient_of_variation_raw", "coefficient_of_variation_treated"]
    short = "replace(datum.values, 'coefficient_of_variation_', '')"
    chart["transform"] = [
        {"fold": kinds, "as": ["values", "coefficient_of_variation"]},
        {"calculate": short, "as": "values"},
    ]
    chart["encoding"]["x"]["axis"] = {"format": "~g"}
    strong = [row for row in rows if abs(row["skew_raw"] or 0) > 1]
    return Answer(
        id="overview.dispersion",
        question=DISPERSION.text,
        rows=rows,
        reading=_dispersion_reading(inputs, rows, strong),
        chart=chart,
        facts={"strongly_skewed_variable_count": len(strong), "variable_count": len(rows)},
        notes=(
            "Population moments, central ones summed about the fitted mean in one pass; kurtosis is "
            "excess kurtosis (0 for a normal distribution). Skew beyond 1 either way counts as strong. "
            "The coefficient of variation is the standard deviation over the mean, none where the mean is "
            "0.",
            (
                f"Variance is in the square of the unit. Treated: {_POLICIES[inputs.settings.treatment]}. "
                f"{_FENCES}"
            ),
        ),
    )


def _paired(raw: Mapping[str, Any], treated: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in raw:
        yield f"{name}_raw", raw[name]
        yield f"{name}_treated", treated[name]


def _moments(inputs: Inputs, names: Sequence[str], suffix: str) -> dict[str, dict[str, Any]]:
    """Dispersion per measure, from sums of powers about the fitted raw mean."""
    if not names:
        return {}
    centres = {name: inputs.treatment[name]["mean"] for name in names}
    deviations = {f"{n}:d": nw.col(f"{n}{suffix}").cast(nw.Float64) - centres[n] for n in names}
    squares = {f"{n}:s": nw.col(f"{n}:d") * nw.col(f"{n}:d") for n in names}
    parts: dict[str, Any] = {}
    for name in names:
        d, s = nw.col(f"{name}:d"), nw.col(f"{name}:s")
        sums = {"count": d.count(), "1": d.sum(), "2": s.sum(), "3": (s * d).sum(), "4": (s * s).sum()}
        sums |= {"low": d.min(), "high": d.max()}
        parts |= {f"{name}:{key}": value for key, value in sums.items()}
    found = inputs.store.row(inputs.sessions.select(**deviations).with_columns(**squares).select(**parts))
    if suffix:
        for name, (first, third) in _treated_quantiles(inputs, names, (0.25, 0.75)).items():
            found |= {f"{name}:first": first, f"{name}:third": third}
    return {name: _spread(inputs.treatment[name], name, found, bool(suffix)) for name in names}


def _spread(fitted: Mapping[str, Any], name: str, found: Mapping[str, Any], treated: bool) -> dict[str, Any]:
    count = found[f"{name}:count"]
    shift, second, third, fourth = (found[f"{name}:{power}"] / count for power in (1, 2, 3, 4))
    quartiles = (
        (found[f"{name}:first"], found[f"{name}:third"])
        if treated
        else (fitted["first_quartile"], fitted["third_quartile"])
    )
    # The sums are about the raw mean; the mean of these values lies `shift` beside it.
    variance = max(second - shift**2, 0.0)
    cubed = third - 3 * shift * second + 2 * shift**3
    fourth = fourth - 4 * shift * third + 6 * shift**2 * second - 3 * shift**4
    mean, width = fitted["mean"] + shift, found[f"{name}:high"] - found[f"{name}:low"]
    if width == 0:
        variance = 0.0
    deviation = math.sqrt(variance)
    return {
        "range": width,
        "variance": variance,
        "standard_deviation": deviation,
        "iqr": quartiles[1] - quartiles[0],
        "coefficient_of_variation": deviation / mean if mean else None,
        "skew": cubed / deviation**3 if variance else None,
        "kurtosis": fourth / variance**2 - 3 if variance else None,
    }


def _dispersion_reading(
    inputs: Inputs, rows: Sequence[Mapping[str, Any]], strong: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    if not rows:
        return ("No measure was observed.",)
    reading = []
    varying = [row for row in rows if row["coefficient_of_variation_raw"] is not None]
    if varying:
        most = max(varying, key=lambda row: row["coefficient_of_variation_raw"])
        reading.append(
            f"{_capital(_said(inputs, most))} varies most against its mean: its standard "
            f"deviation is {most['coefficient_of_variation_raw']:.2f} times the mean."
        )
    up = sum(row["skew_raw"] > 0 for row in strong)
    if strong:
        most = max(strong, key=lambda row: abs(row["skew_raw"]))
        sides = [
            f"{n} {text}" for n, text in ((up, "to large values"), (len(strong) - up, "to small values")) if n
        ]
        reading.append(
            f"{len(strong)} of {plural(len(rows), 'measure')} {'is' if len(strong) == 1 else 'are'} "
            f"strongly skewed ({listing(sides)}), {_said(inputs, most)} the most (skew "
            f"{most['skew_raw']:.1f})."
        )
    else:
        reading.append("No measure is strongly skewed.")
    spread = [row for row in rows if row["standard_deviation_raw"]]
    cuts = {
        row["variable"]: 1 - row["standard_deviation_treated"] / row["standard_deviation_raw"]
        for row in spread
    }
    clear = [row for row in spread if cuts[row["variable"]] >= LEAST_EFFECT]
    if clear:
        most = max(clear, key=lambda row: cuts[row["variable"]])
        before, after = (
            format_value(most[f"standard_deviation_{k}"], most["unit"]) for k in ("raw", "treated")
        )
        reading.append(
            f"Treatment cuts the standard deviation of {len(clear)} by {100 * LEAST_EFFECT:.0f} % or more, "
            f"of {_said(inputs, most)} from {before} to {after}: treated values understate "
            "the spread."
        )
    else:
        reading.append("Treatment makes no clear difference to any standard deviation.")
    return tuple(reading)


VARIABLES: Final = Question(
    "overview.variables", "Which variables are there, and what is missing or out of range?", variables
)
CENTRE: Final = Question(
    "overview.centre", "What are mean, median and mode of each measure, and which of them matter?", centre
)
DISPERSION: Final = Question("overview.dispersion", "How far does each measure spread?", dispersion)
QUESTIONS: Final = (VARIABLES, CENTRE, DISPERSION)
