"""What stands on the report's page, in which order, before the template gives it its form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from subsight.results import Answer, Results, respectful
from subsight.surfaces.report.definitions import definitions, terms
from subsight.surfaces.report.tables import Table, table
from subsight.surfaces.report.words import day, named, phrase, sentence
from subsight.workspace import Workspace

if TYPE_CHECKING:
    from jinja2 import Environment

    from subsight.surfaces.report import Drawing

__all__ = [
    "Model",
    "Section",
    "counted",
    "data_quality",
    "environment",
    "extend",
    "headlines",
    "model_of",
    "monitoring",
    "ordered",
    "page",
    "read",
    "section",
    "sections",
    "title",
]

_ORDER: Final = ("memo", "overview", "engagement", "experience", "satisfaction", "segments")
_TITLES: Final = {
    "memo": "Decision memo", "rfm": "Recency, frequency and usage", "trends": "Micro-trends",
    "offers": "Next-best offers", "recommendations": "Offers to subscribers",
}  # fmt: skip
_STUDIED: Final = {"inputs.coverage": "overview.coverage"}
_COLUMN: Final = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
_FOUND: Final = {
    "refused": ("refusal", "refusals"), "corrected": ("correction", "corrections"),
    "warning": ("warning", "warnings"), "note": ("note", "notes"),
}  # fmt: skip
_SEVERITIES: Final = tuple(_FOUND)
_OPEN_ROWS: Final = 12
_LONG: Final = 90


@dataclass(frozen=True)
class Section:
    """A study with its answers, and the run it was carried forward from."""

    id: str
    title: str
    answers: Sequence[Answer]
    stale: bool = False
    from_run: str | None = None


@dataclass(frozen=True)
class Model:
    """A fit record as lists of names and values, and its numbers by feature as a table."""

    id: str
    title: str
    facts: Sequence[tuple[str, str]]
    card: Sequence[tuple[str, str]]
    numbers: Table | None
    caption: str


def page(results: Results, drawing: Drawing, studies: Sequence[str] | None = None) -> str:
    """The report of a run as HTML, of all its studies or of some (see `sections`)."""
    from markupsafe import Markup

    shown, inputs = sections(results, studies), data_quality(results)
    covered = [text for answer in inputs.answers[2:] for text in answer.reading]
    numbers = headlines(results, {section.id for section in shown})
    if any(answer.id == "overview.coverage" for section in shown for answer in section.answers):
        # The study draws the same days, and says more of them.
        inputs = replace(inputs, answers=inputs.answers[:2])
        numbers = [(words, value, _STUDIED.get(id, id)) for words, value, id in numbers]
    answers = [answer for section in [*shown, inputs] for answer in section.answers]
    for answer in answers:
        drawing.begin(answer)
    known = frozenset(answer.id for answer in answers)
    tables = {answer.id: table(answer.rows, known, group_size=answer.group_size) for answer in answers}
    models = [] if studies else [model_of(name, record) for name, record in results.models().items()]
    template = environment(__package__, known).get_template("report.html.jinja")
    charts = {answer.id: Markup(svg) for answer in answers if (svg := drawing.result(answer))}
    html = template.render(
        manifest=results.manifest, quality=results.quality, sections=shown, inputs=inputs, tables=tables,
        charts=charts, models=models, headlines=numbers, covered=covered,
        definitions=definitions(results), terms=terms(results), minimum=results.minimum_group,
        open_rows=_OPEN_ROWS, long=_LONG,
    )  # fmt: skip
    return html.lstrip()  # nothing may stand before the document type


def environment(package: str, known: Collection[str]) -> Environment:
    """The templates of a package, with the report's words and its `style.css`; all that they show is escaped.

    `known` are the answers that stand on the same page and can be linked to.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    extend(made, known)
    return made


def extend(made: Any, known: Collection[str]) -> None:
    """Gives templates the report's words, numbers and style sheets; `known` are answers to link to."""
    from markupsafe import Markup

    from subsight.surfaces.report.tables import breakable, link, note
    from subsight.surfaces.report.words import cell_text, column_unit

    made.filters |= {
        "link": lambda text: link(text, known),
        "note": lambda text, answer: note(text, known, answer.columns),
        "breaks": breakable,
        "phrase": lambda name: sentence(phrase(name)),
        "value": lambda value, name: cell_text(value, column_unit(name)),
        "instant": lambda text: f"{str(text)[:16].replace('T', ' ')} UTC",
    }
    # The style sheets are ours and hold no data.
    made.globals["style"] = lambda name="style.css": Markup(made.loader.get_source(made, name)[0])


def sections(results: Results, studies: Sequence[str] | None = None) -> list[Section]:
    """The run's studies in the report's order, then the models in service; or only the studies named.

    Raises:
        NotFoundError: the run holds no study of that name.
    """
    if studies:
        for study in studies:
            results.answers(study)
        return [section(results, study) for study in ordered(list(dict.fromkeys(studies)))]
    return [*(section(results, study) for study in ordered(results.studies())), *monitoring(results)]


def ordered(studies: Sequence[str]) -> list[str]:
    """Studies in the order in which they are read."""
    return [study for study in _ORDER if study in studies] + [s for s in studies if s not in _ORDER]


def title(study: str) -> str:
    """What a study is called above its answers."""
    return _TITLES.get(study, sentence(phrase(study)))


def section(results: Results, study: str) -> Section:
    """A study of the run with its title and answers."""
    about = results.manifest["studies"][study]
    return Section(
        study, title(study), results.answers(study),
        bool(about.get("stale")), about.get("from_run"),
    )  # fmt: skip


def monitoring(results: Results) -> list[Section]:
    """The models in service of the workspace that the run stands in; nothing where there are none."""
    from subsight.lifecycle.monitoring import answers

    found = answers(Workspace(results.folder.resolve().parent.parent))
    shown = [respectful(answer, results.minimum_group) for answer in found]
    return [Section("monitoring", "Models in service", shown)] if shown else []


def data_quality(results: Results) -> Section:
    """What ingest found, in the form of answers, so that it is shown like one."""
    found = results.quality
    findings = sorted(found.get("findings") or (), key=lambda row: _SEVERITIES.index(row["severity"]))
    answers = [
        Answer(
            "inputs.findings", "What was found wrong with the data, and what was done about it?",
            # With the unit: a duration in seconds and one in milliseconds are two columns.
            [{**row, "column": named(row["column"] or "–")} for row in findings],
            (_severities(findings),),
        ),
        Answer(
            "inputs.rejects", "Which records were rejected, and why?", found.get("rejects") or [],
            (_rejected(results.manifest),),
        ),
        *([_coverage(found)] if "coverage" in found else []),
    ]  # fmt: skip
    return Section("quality", "Data quality", answers)


def _severities(findings: Sequence[Mapping[str, Any]]) -> str:
    """How many findings there are of each kind, the gravest first."""
    total = _counted(len(findings), "finding")
    counts = Counter(row["severity"] for row in findings)
    kinds = [f"{counts[kind]} {_FOUND[kind][counts[kind] > 1]}" for kind in _SEVERITIES if counts[kind]]
    return f"{total}: {', '.join(kinds)}." if kinds else f"{total}."


def _rejected(manifest: Mapping[str, Any]) -> str:
    records, _, rejected = counted(read(manifest))
    if not records:
        return "No records were read."
    return f"{rejected:,} of {_counted(records, 'record')} {'was' if rejected == 1 else 'were'} rejected."


def _counted(count: int, noun: str) -> str:
    return f"{count or 'No':{',' if count else ''}} {noun}{'' if count == 1 else 's'}"


def _coverage(quality: Mapping[str, Any]) -> Answer:
    rows = quality.get("coverage") or []
    reading = [_span(rows) if rows else "No days."]
    periods = quality.get("periods") or {}
    if periods.get("first") and periods.get("second"):
        (a, b), (c, d) = periods["first"], periods["second"]
        both = periods["both_subscriber_count"]
        seen = f"{_counted(both, 'subscriber')} {'is' if both == 1 else 'are'} seen"
        reading.append(
            f"{seen} both from {day(a)} to {day(b)} and from {day(c)} to {day(d)}: the two periods "
            f"{'can' if periods.get('comparable') else 'cannot'} be compared."
        )
    dates = {"field": "local_date", "type": "temporal", "title": None}
    bars = {"field": "session_count", "type": "quantitative", "title": "sessions", "axis": {"format": "~s"}}
    chart = {
        "mark": {"type": "bar"},
        "encoding": {"x": {**dates, "timeUnit": "utcyearmonthdate", "bandPosition": 0.5}, "y": bars},
    }
    return Answer(
        "inputs.coverage", "Which days do the data cover?", rows, tuple(reading), chart,
        group_size="subscriber_count" if rows else None,
    )  # fmt: skip


def _span(rows: Sequence[Mapping[str, Any]]) -> str:
    """The days covered, and how many of the sessions the three busiest hold."""
    days = sorted(row["local_date"] for row in rows if row.get("local_date"))
    counts = sorted((row["session_count"] or 0 for row in rows), reverse=True)
    total = sum(counts)
    span = f"Sessions start on {_counted(len(rows), 'day')}"
    if days:
        span += f", from {day(days[0])} to {day(days[-1])}"
    if len(rows) > 3 and total:
        of = "those shown" if any(row["session_count"] is None for row in rows) else "them"
        span += f"; the three busiest days hold {100 * sum(counts[:3]) / total:.1f} % of {of}"
    return f"{span}."


def read(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The inputs that a run was made from, each once: areas that share one name it each."""
    inputs = manifest.get("inputs", ())
    return list({(one.get("table"), one["content"]): one for one in inputs}.values())


def counted(inputs: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """The records of all inputs together, leases among them: read, accepted, rejected."""
    records, accepted, rejected = (
        sum(one.get(name) or 0 for one in inputs) for name in ("records", "accepted", "rejected")
    )
    return records, accepted, rejected


def headlines(results: Results, shown: Collection[str] | None = None) -> list[tuple[str, str, str]]:
    """Headline numbers: words, value, and the section, of those shown, that the number can be traced to."""
    counts, tables = results.quality, results.manifest["tables"]
    records, accepted, rejected = counted(read(results.manifest))
    found = [("Records read", f"{records:,}", "quality")]
    found.append(("Records accepted", f"{accepted:,}", "quality"))
    found.append(("Records rejected", f"{rejected:,}", "inputs.rejects"))
    without = counts.get("without_subscriber_count")
    if without is not None:
        found.append(("Without subscriber", f"{without:,}", "quality"))
    if "profiles" in tables:
        found.append(("Subscribers", f"{tables['profiles']['rows']:,}", "run"))
    if "segments" in tables and (shown is None or "segments" in shown):
        names = results.models()["segments"]["names"]
        found.append(("Segments", f"{len(names)}", "segments"))
    if "coverage" in counts:
        found.append(("Days covered", f"{len(counts['coverage'] or ()):,}", "inputs.coverage"))
    return found


def model_of(name: str, record: Mapping[str, Any]) -> Model:
    """A fit record as it is shown."""
    facts = [("Features", ", ".join(phrase(feature) for feature in record.get("features", ())))]
    if "features" in record.get("card", {}):
        facts = []  # the card names them
    facts += _listed(record.get("fit", {}))
    numbers, caption = _numbers(record)
    card = [
        (name, _COLUMN.sub(lambda found: phrase(found[0]), text))
        for name, text in _listed(record.get("card", {}))
    ]
    return Model(f"model.{name}", sentence(phrase(name)), facts, card, numbers, caption)


def _listed(values: Mapping[str, Any], within: str = "") -> list[tuple[str, str]]:
    """Names and values as words; what was filled in or lacking is a count of values by feature."""
    from subsight.surfaces.report.words import cell_text, column_unit

    listed: list[tuple[str, str]] = []
    for name, value in values.items():
        words = f"{within}{phrase(name)}"
        if name in ("sizes", "hits"):
            continue  # the studies have them, small ones suppressed
        if name in ("filled", "lacking") and isinstance(value, Mapping):
            listed += [
                (f"{sentence(name)}: {phrase(feature)}", cell_text(n, None)) for feature, n in value.items()
            ]
        elif isinstance(value, Mapping):
            listed += _listed(value, f"{words}: ")
        elif isinstance(value, list | tuple):
            flat = [item for item in value if not isinstance(item, list | dict)]
            texts = [cell_text(item, column_unit(name)) for item in flat]
            if texts:
                listed.append((sentence(words), ", ".join(texts)))
        else:
            listed.append((sentence(words), cell_text(value, column_unit(name))))
    return listed


def _numbers(record: Mapping[str, Any]) -> tuple[Table | None, str]:
    """The fitted numbers by feature, and what they are: coefficients, centroids or loadings."""
    features, parameters = record.get("features", ()), record.get("parameters", {})
    is_scaled = any(deviation != 1 for deviation in parameters.get("deviation", ()))
    coefficients = parameters.get("coefficients")
    if isinstance(coefficients, Mapping):
        rows = [{"feature": name, "coefficient": value} for name, value in coefficients.items()]
        largest = sorted(rows, key=lambda row: -abs(row["coefficient"] or 0))
        kind = "Standardised coefficients" if is_scaled else "Coefficients"
        return table(largest, ()), f"{kind}, the largest first."
    if "centroids" in parameters:
        scale = " in z-scores" if is_scaled else ""
        return _by_feature("cluster", parameters["centroids"], features), f"Centroids{scale}."
    if "components" in parameters:
        return _by_feature("component", parameters["components"], features), "Loadings of the components."
    return None, ""


def _by_feature(label: str, vectors: Sequence[Sequence[float]], features: Sequence[str]) -> Table | None:
    # A feature's unit goes: these numbers are not in it.
    names = [phrase(feature).replace(" ", "_") for feature in features]
    # As the studies call them: clusters count from 0, components from PC1.
    called = [f"PC{i + 1}" if label == "component" else str(i) for i in range(len(vectors))]
    rows = [{label: called[i], **dict(zip(names, vector, strict=False))} for i, vector in enumerate(vectors)]
    return table(rows, ())
