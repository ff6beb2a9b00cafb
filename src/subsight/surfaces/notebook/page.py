"""What stands in a notebook's output: the report's words, tables and charts, in a style that stays inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from subsight.results import Answer, Results, Study
from subsight.surfaces.report.page import data_quality, environment, headlines
from subsight.surfaces.report.page import title as titled
from subsight.surfaces.report.palette import palette
from subsight.surfaces.report.tables import Table, table
from subsight.surfaces.report.words import phrase, sentence

if TYPE_CHECKING:
    from markupsafe import Markup

    from subsight.errors import SubsightError
    from subsight.workspace import Batch, Workspace

__all__ = ["answer", "refusal", "run", "study", "workspace"]

_OPEN_ROWS: Final = 12
_MOST_ROWS: Final = 50
_PUBLISHES: Final = {
    "sessions": "run()", "flows": "run()", "subscribers": "segment()", "dpi_usage": "train_offers()",
    "offers": "train_offers()", "purchases": "train_offers()",
}  # fmt: skip
"""By kind of records, what makes a run of them."""


@dataclass(frozen=True)
class Shown:
    """An answer ready to be shown; `left` rows are not, as a page with all of them would be slow."""

    answer: Answer
    table: Table | None
    chart: Markup | None
    left: int


def answer(found: Answer) -> str:
    """An answer on its own."""
    return _page(answers=[_shown(found)])


def study(found: Study) -> str:
    """A study's answers in turn."""
    carried = f"Carried forward from run {found.from_run}." if found.from_run else ""
    stale = f"{carried} Its inputs have changed since.".strip() if found.is_stale else ""
    return _page(
        title=titled(found.name), trace="" if stale else carried, stale=stale,
        sentences=() if found else ("Nothing to show.",), answers=[_shown(one) for one in found],
    )  # fmt: skip


def run(results: Results) -> str:
    """A run's headline numbers, what it holds under which name, and what was found in its data."""
    manifest = results.manifest
    studies = [
        {"study": titled(name), "call": f'study("{name}")', "answer_count": about["answers"],
         "of_run": about.get("from_run") or "this one", "is_stale": bool(about.get("stale"))}
        for name, about in manifest["studies"].items()
    ]  # fmt: skip
    kept = [
        {"table": sentence(phrase(name)), "call": f'table("{name}")', "row_count": about["rows"]}
        for name, about in manifest["tables"].items()
    ]
    quality = data_quality(results).answers
    serious = [row for row in quality[0].rows if row["severity"] != "note"]
    found = [replace(quality[0], rows=serious, reading=())] if serious else []
    notes = ["None of them is more than a note."] if quality[0].rows and not serious else []
    return _page(
        title=f"Run {manifest['run']}",
        trace=f"{str(manifest['created_at'])[:16].replace('T', ' ')} UTC",
        headlines=[(words, number) for words, number, _ in headlines(results)],
        sentences=[*quality[0].reading, *notes, *(text for one in quality[1:] for text in one.reading)],
        tables=[(words, table(rows, ())) for words, rows in (("Studies", studies), ("Tables", kept)) if rows],
        answers=[_shown(one) for one in found],
    )


def workspace(found: Workspace) -> str:
    """What a workspace holds, and what its owner may do next."""
    from subsight.lifecycle.registry import Registry

    batches = {path.name: found.batches(path.name) for path in sorted((found.path / "batches").glob("*"))}
    runs, registry = found.runs(), Registry(found)
    current = Results(found.run()) if runs else None
    inputs = [
        {"records": sentence(phrase(kind)), "input_count": len(of),
         "accepted_count": sum(one.manifest.get("accepted", 0) for one in of),
         "rejected_count": sum(one.manifest.get("rejected", 0) for one in of)}
        for kind, of in batches.items() if of
    ]  # fmt: skip
    models = [
        {"model": name, "version_count": len(registry.entries(name)),
         "champion": registry.aliases(name).get("champion")}
        for name in registry.names()
    ]  # fmt: skip
    sentences = [f"{len(runs):,} run{'' if len(runs) == 1 else 's'} published." if runs else "No run yet."]
    if current:
        held = ", ".join(titled(name).lower() for name in current.studies())
        sentences.append(f"The current one is {current.manifest['run']}: {held or 'no studies'}.")
    return _page(
        title=f"Workspace {found.path.name}", sentences=sentences, next=_next(batches, current),
        tables=[(words, table(rows, ())) for words, rows in (("Inputs", inputs), ("Models", models)) if rows],
    )  # fmt: skip


def _next(batches: dict[str, list[Batch]], current: Results | None) -> list[tuple[str, str]]:
    """Calls and what they are for, the most pressing first."""
    read = {one["content"] for one in current.manifest["inputs"]} if current else set()
    new = {kind: [one for one in of if one.content not in read] for kind, of in batches.items()}
    calls: dict[str, list[str]] = {}
    for kind, call in _PUBLISHES.items():
        if new.get(kind):
            calls.setdefault(call, []).append(phrase(kind))
    steps = [(call, f"publishes what no run holds yet: {', '.join(kinds)}") for call, kinds in calls.items()]
    if not any(batches.values()):
        steps.append(('ingest("records.csv")', "reads a file of sessions; kind= says of what else"))
    studies = current.studies() if current else []
    if "offers" in studies and "recommendations" not in studies:
        steps.append(("recommend_all()", "recommends offers to every subscriber"))
    if studies:
        steps.append(("results", "shows the current run"))
        steps.append((f'study("{studies[0]}")', "shows a study with its charts"))
    return steps


def refusal(error: SubsightError) -> str:
    """Why something cannot be shown, in the error's own words."""
    said = {"found": error.found, "expected": error.expected, "do": error.do}
    return _page(stale=error.what, sentences=[f"{name}: {text}" for name, text in said.items() if text])


def _shown(found: Answer) -> Shown:
    rows = found.rows[:_MOST_ROWS]
    cells = table(rows, (), group_size=found.group_size)
    return Shown(found, cells, _chart(found), len(found.rows) - len(rows))


def _chart(found: Answer) -> Markup | None:
    import vl_convert
    from markupsafe import Markup

    from subsight.surfaces.report import rendering

    spec = rendering.spec(found)
    if spec is None:
        return None
    # What the renderer and `dressed` write is escaped; the report embeds it in the same way.
    return Markup(rendering.dressed(found, vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])))


def _page(
    *,
    title: str = "",
    trace: str = "",
    stale: str = "",
    headlines: Sequence[tuple[str, str]] = (),
    sentences: Sequence[str] = (),
    tables: Sequence[tuple[str, Table | None]] = (),
    answers: Sequence[Shown] = (),
    next: Sequence[tuple[str, str]] = (),
) -> str:
    from markupsafe import Markup

    parts: dict[str, Any] = {
        "title": title, "trace": trace, "stale": stale, "headlines": headlines, "sentences": sentences,
        "tables": tables, "answers": answers, "next": next, "open_rows": _OPEN_ROWS,
    }  # fmt: skip
    # Our own style sheet's colours: they hold no data.
    colours = Markup("".join(
        f"--{name}: light-dark({light}, {dark}); " for name, (light, dark) in palette().items()
    ))  # fmt: skip
    template = environment(__package__, ()).get_template("notebook.html.jinja")
    return template.render(colours=colours, **parts).strip()
