"""Speaker notes: the question, what is shown in which form, what its words mean, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from subsight.results import Answer, Results
from subsight.surfaces.report.definitions import definitions
from subsight.surfaces.report.words import named, phrase, sentence, unit_label
from subsight.surfaces.slides.sentences import clean

__all__ = ["Meanings", "meanings", "of_answer", "provenance", "write"]

Meanings = Mapping[str, str]

_STATISTICS: Final = {
    "mean": "mean", "median": "median", "mode": "commonest value", "total": "sum",
    "first_quartile": "first quartile", "third_quartile": "third quartile", "highest": "highest",
    "least": "smallest", "most": "largest",
}  # fmt: skip
_SETTINGS: Final = ("engine", "time_zone", "identifiers", "treatment", "minimum_group", "seed")
_NAMING: Final = ("variable", "metric", "measure", "feature", "column")


def meanings(results: Results, study: str) -> Meanings:
    """What the columns of the tables that a study read mean, by name; the first table that has one says."""
    found: dict[str, str] = {}
    for table in definitions(results, study):
        for name, _words, _unit, meaning in table.columns:
            found.setdefault(name, meaning)
    return found


def of_answer(
    answer: Answer, shown: Sequence[str], form: str, meanings: Meanings, terms: Sequence[tuple[str, str]]
) -> list[str]:
    """The notes of an answer's slide, a paragraph a string.

    `shown` are the columns that it shows, `terms` the words of the run's answers and what they mean.
    """
    return [
        f"Question: {answer.question}",
        *(f"Reading: {text}" for text in answer.reading),
        form,
        "Definitions:",
        *(f"- {line}" for line in _defined(answer, shown, meanings, terms)),
        *(["How it was computed:", *(f"- {note}" for note in answer.notes)] if answer.notes else []),
    ]


def _defined(
    answer: Answer, shown: Sequence[str], meanings: Meanings, terms: Sequence[tuple[str, str]]
) -> Iterator[str]:
    names = [*shown]
    for column in _NAMING:
        names += dict.fromkeys(str(row[column]) for row in answer.rows[:10] if row.get(column) is not None)
    for name in dict.fromkeys(names):
        meaning = _meaning(name, meanings)
        unit = unit_label(name)
        # A name that says all that is known of it itself needs no line.
        if meaning or (name in shown and (unit or phrase(name) != name)):
            said = sentence(phrase(name))
            yield f"{said}{f' ({unit})' if unit else ''} [{name}]{f': {meaning}' if meaning else ''}"
    words = f" {' '.join(map(phrase, names))} ".lower()
    for term, meaning in terms:
        if any(f" {word} " in words for word in term.lower().split(", ")):
            yield f"{term}: {meaning}"


def _meaning(name: str, meanings: Meanings) -> str:
    """A column's meaning, or that of the column that it is a statistic of."""
    if name in meanings:
        return meanings[name]
    for kind in ("_raw", "_treated"):
        if name.endswith(kind) and (found := _meaning(name.removesuffix(kind), meanings)):
            return f"{found}, {kind[1:]}"
    for start, words in _STATISTICS.items():
        of = name.removeprefix(f"{start}_")
        if of != name and of in meanings:
            return f"{words} of {meanings[of]}"
    return ""


def provenance(
    results: Results, answer: str = "", from_run: str | None = None, stale: bool = False
) -> list[str]:
    """Where a slide's numbers come from: the run, its inputs by content, settings and code."""
    manifest, study = results.manifest, answer.partition(".")[0]
    areas = (manifest.get("areas") or {}).values()
    read = {one for area in areas if study in area.get("studies", ()) for one in area.get("contents", ())}
    code, settings = manifest.get("code") or {}, manifest.get("settings") or {}
    commit = f", commit {code['commit']}" if code.get("commit") else ""
    changed = " with changes of its own" if code.get("is_dirty") else ""
    carried = f", carried over from run {from_run}" if from_run else ""
    out = ", whose inputs have changed since" if stale else ""
    versions: Mapping[str, Any] = manifest.get("versions") or {}
    return [
        "Provenance:",
        f"- Run {manifest['run']}, created {manifest['created_at']}{f', answer {answer}' if answer else ''}"
        f"{carried}{out}",
        *dict.fromkeys(
            f"- Input {entry['name']} ({entry.get('table', 'records')}), content {entry['content']}"
            for entry in manifest.get("inputs") or ()
            if not read or entry["content"] in read
        ),
        "- Settings: "
        + ", ".join(f"{named(name)} {settings[name]}" for name in _SETTINGS if name in settings),
        f"- Code: subsight {code.get('package') or versions.get('subsight', 'unknown')}{commit}{changed}",
    ]


def write(slide: Any, paragraphs: Sequence[str]) -> None:
    """Puts the paragraphs into a slide's notes."""
    slide.notes_slide.notes_text_frame.text = "\n".join(map(clean, paragraphs))
