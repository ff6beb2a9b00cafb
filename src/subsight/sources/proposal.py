"""A mapping for a file of a vendor nobody has described: headers suggest, a sample of the data decides.

A column is `sure` where name and data agree or the data alone prove it, `likely` where only its name
speaks, `guess` where even that is in doubt. Guesses are shown and never used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from subsight.contracts import Application
from subsight.settings import Settings
from subsight.sources.files import InputFile
from subsight.sources.headers import slug
from subsight.sources.mapping import MappedColumn, Mapping, plain
from subsight.sources.sample import Sample
from subsight.store import EPOCHS, Digits, Store, Text
from subsight.tables import SESSIONS, THROUGHPUT_SHARES
from subsight.units import FACTORS, factor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

__all__ = ["Certainty", "Guess", "Proposal", "propose"]

Certainty = Literal["sure", "likely", "guess"]

_AGREE: Final = 0.95
_PARSED: Final = 0.99
_ENOUGH: Final = 30
_RANK: Final = {"sure": 0, "likely": 1, "guess": 2}
_DIRECTED: Final = {
    "rtt": "rtt_{}_ms", "throughput": "throughput_{}_kbps", "http": "http_{}_bytes",
    "retransmission": "tcp_retransmission_{}_bytes", "activity": "activity_{}_ms",
}  # fmt: skip
_LENGTHS: Final = {"subscriber_id": (7, 15), "imsi_id": (14, 15), "imei_id": (14, 16)}
"""Digits of an MSISDN (ITU-T E.164), an IMSI (E.212), an IMEI with or without its end (3GPP TS 23.003)."""


@dataclass(frozen=True)
class Guess:
    """What one source column seems to be, and why. `milliseconds` is a column that belongs to it."""

    position: int
    name: str
    certainty: Certainty
    evidence: str
    unit: str | None = None
    format: str | None = None


@dataclass(frozen=True)
class Proposal:
    """A mapping of the sure and likely columns, and the best guess for each source column."""

    mapping: Mapping
    guesses: dict[int, Guess]


def propose(store: Store, file: InputFile, settings: Settings) -> Proposal:
    """A mapping for a file from its header and its first 20,000 records, with what is sure of it."""
    sample = Sample(store, file, settings)
    guesses = [
        *_identities(sample), *_times(sample), *_bands(sample), *_directed(sample), *_volumes(sample),
    ]  # fmt: skip
    chosen = _without_rivals(guesses)
    applications = _applications(chosen, sample)
    return Proposal(_mapping(file, chosen, applications), {guess.position: guess for guess in chosen})


def _by_concept(sample: Sample, concept: str) -> list[int]:
    return [i for i, header in enumerate(sample.headers) if header.concept == concept]


def _without_rivals(guesses: Iterable[Guess]) -> list[Guess]:
    """One source column for each canonical one: the surest; where several are equally sure, none is."""
    claims: dict[str, list[Guess]] = {}
    for guess in guesses:
        claims.setdefault(guess.name, []).append(guess)
    chosen: list[Guess] = []
    for rivals in claims.values():
        best = min(_RANK[guess.certainty] for guess in rivals)
        leaders = [guess for guess in rivals if _RANK[guess.certainty] == best]
        for guess in rivals:
            if len(leaders) > 1 or guess not in leaders:
                reason = f"{guess.evidence}; {len(rivals)} columns may be this one"
                guess = replace(guess, certainty="guess", evidence=reason)
            chosen.append(guess)
    return sorted(chosen, key=lambda guess: guess.position)


def _mapping(file: InputFile, guesses: Sequence[Guess], applications: tuple[Application, ...]) -> Mapping:
    used = {guess.name: guess for guess in guesses if guess.certainty != "guess"}
    seen: Counter[str] = Counter()
    occurrences = []
    for text in file.header:
        seen[plain(text)] += 1
        occurrences.append(seen[plain(text)])
    columns = []
    for name, guess in used.items():
        if name.endswith(":milliseconds"):
            continue
        extra = used.get(f"{name}:milliseconds")
        columns.append(
            MappedColumn(
                name,
                file.header[guess.position],
                occurrences[guess.position],
                guess.unit,
                guess.format,
                file.header[extra.position] if extra else None,
            )
        )
    name = re.sub(r"[^a-z0-9]+", "_", file.path.name.lower().partition(".")[0]).strip("_") or "proposed"
    order = {column.name: i for i, column in enumerate(SESSIONS.expand(applications))}
    columns.sort(key=lambda column: order[column.name])
    return Mapping(name, "sessions", tuple(columns), applications, f"proposed for {file.path.name}")


# Identifiers, cells and handsets


def _identities(sample: Sample) -> Iterable[Guess]:
    for name, (low, high) in _LENGTHS.items():
        for position in _by_concept(sample, name):
            yield _identifier(sample, position, name, low, high)
    for name in ("bearer_id", "cell_id"):
        for position in _by_concept(sample, name):
            if sample.texts(position):
                yield Guess(position, name, "likely", "named so")
    models, makers = _by_concept(sample, "handset"), _by_concept(sample, "handset_manufacturer")
    if len(models) == len(makers) == 1:
        yield from _handset(sample, models[0], makers[0])
    else:
        for name, found in (("handset", models), ("handset_manufacturer", makers)):
            yield from (Guess(position, name, "likely", "named so") for position in found)


def _identifier(sample: Sample, position: int, name: str, low: int, high: int) -> Guess:
    digits = sample.derived({"digits": Digits(f"c{position}")})["digits"]
    lengths = Counter(len(value) for value in digits if value)
    total = sum(lengths.values())
    usual = ", ".join(str(length) for length, count in lengths.most_common() if count >= 0.01 * total)
    fitting = sum(count for length, count in lengths.items() if low <= length <= high)
    if not total or fitting < _PARSED * total:
        return Guess(position, name, "guess", f"named so, but its values have {usual or 'no'} digits")
    evidence = (
        f"named so; {100 * fitting / total:.1f} % of values have {low} to {high} digits (mostly {usual})"
    )
    words = sample.headers[position].words
    is_plain = any(word.startswith(name.removesuffix("_id")) or word == "msisdn" for word in words)
    if name == "imsi_id":
        countries = sum(1 for value in digits if value and "200" <= value[:3] <= "799")
        is_plain = is_plain and countries >= _PARSED * total
    if name == "subscriber_id":
        # A phone number may be anybody's; 15 digits are an IMSI's or an IMEI's.
        is_plain = "msisdn" in words and lengths[15] + lengths[14] < 0.5 * total
    return Guess(position, name, "sure" if is_plain else "likely", evidence)


def _handset(sample: Sample, model: int, maker: int) -> Iterable[Guess]:
    columns = sample.derived({"model": Text(f"c{model}"), "maker": Text(f"c{maker}")})
    pairs = Counter(
        (model, maker)
        for model, maker in zip(columns["model"], columns["maker"], strict=True)
        if model is not None and maker is not None
    )
    models, makers = {a for a, _ in pairs}, {b for _, b in pairs}
    if len(makers) > 1 and len(models) > len(makers) and len(pairs) <= 1.01 * len(models):
        evidence = f"named so; each of {len(models)} models has one of {len(makers)} manufacturers"
        yield Guess(model, "handset", "sure", evidence)
        yield Guess(maker, "handset_manufacturer", "sure", evidence)
    else:
        yield Guess(model, "handset", "likely", "named so")
        yield Guess(maker, "handset_manufacturer", "likely", "named so")


# Times and durations


def _times(sample: Sample) -> Iterable[Guess]:
    read: dict[str, tuple[int, dict[str, Numbers], str]] = {}
    for name in ("start_at", "end_at"):
        extras = [i for i in _by_concept(sample, f"{name}:milliseconds") if _is_thousandths(sample, i)]
        for position in extras:
            evidence = "named so; whole numbers from 0 to 999"
            yield Guess(position, f"{name}:milliseconds", "sure", evidence, "ms")
        # A whole time in milliseconds is named as their column beside a time would be.
        whole = [i for i in _by_concept(sample, f"{name}:milliseconds") if i not in extras]
        positions = _by_concept(sample, name) or whole
        for position in positions:
            found, evidence = _formats(sample, position, extras[0] if len(extras) == 1 else None)
            if len(positions) > 1 or not found:
                yield Guess(position, name, "guess", evidence, format=next(iter(found), None))
            else:
                read[name] = position, found, evidence
    spans = _spans(sample, *(formats for _, formats, _ in read.values())) if len(read) == 2 else {}
    for name, (position, formats, evidence) in read.items():
        pattern = next(iter(spans if len(spans) == 1 else formats))
        certainty: Certainty = "sure" if len(spans) == 1 else "likely" if len(formats) == 1 else "guess"
        evidence += "; starts are before ends" if len(spans) == 1 else ""
        yield Guess(position, name, certainty, evidence, format=pattern)
    yield from _durations(sample, next(iter(spans.values())) if len(spans) == 1 else None)


def _spans(sample: Sample, starts: dict[str, Numbers], ends: dict[str, Numbers]) -> dict[str, Numbers]:
    """Seconds from start to end by format: one format where only one is possible."""
    import numpy as np

    spans = {p: ends[p] - starts[p] for p in starts if p in ends}
    spans = {p: s for p, s in spans.items() if (s[~np.isnan(s)] >= -60).mean() >= _PARSED}
    durations = [sample.numbers(position) for position in _by_concept(sample, "duration")]
    if len(spans) > 1:
        # Read in the wrong order, sessions over midnight last a month.
        agreeing = [p for p, s in spans.items() if any(_duration_unit(d, s) for d in durations)]
        spans = {p: spans[p] for p in agreeing} or spans
    return spans


def _is_thousandths(sample: Sample, position: int) -> bool:
    import numpy as np

    values = sample.numbers(position)
    values = values[~np.isnan(values)]
    return bool(values.size) and bool(((values >= 0) & (values < 1000) & (values % 1 == 0)).mean() >= _PARSED)


def _formats(sample: Sample, position: int, extra: int | None) -> tuple[dict[str, Numbers], str]:
    """The formats that read a column's values, with what they read, and a sentence about them."""
    import numpy as np

    texts = sample.texts(position)
    if not texts:
        return {}, "named so, but empty"
    read: dict[str, Numbers] = {}
    for pattern in ["iso"] if sample.is_instant(position) else _patterns(texts):
        seconds = sample.seconds(position, pattern, extra)
        if (~np.isnan(seconds)).sum() >= _PARSED * len(texts):
            read[pattern] = seconds
    if not read:
        return {}, f"named so, but {texts[0][:30]!r} is in no known format of dates"
    if len(read) == 2:
        one, other = read.values()
        if np.array_equal(one, other, equal_nan=True):
            read.popitem()
    if len(read) > 1:
        return read, f"named so; {' and '.join(read)} both read every value"
    (pattern, seconds), *_ = read.items()
    return read, f"named so; {pattern} reads {100 * (~np.isnan(seconds)).sum() / len(texts):.1f} % of values"


_DATE: Final = re.compile(
    r"(\d{1,4})([-/.])(\d{1,2}|[A-Za-z]{3})\2(\d{1,4})"
    r"(?:([ T])\d{1,2}:\d{2}(:\d{2}(?:([.,])\d+)?)?)?(\s?[AaPp][Mm])?"
)


def _patterns(texts: Sequence[str]) -> list[str]:
    """strptime patterns of the shape that most values have; both orders where day and month could swap."""
    if all(re.fullmatch(r"20\d{12}", text) for text in texts[:200]):
        return ["%Y%m%d%H%M%S"]
    if epoch := _epoch(texts[:200]):
        return [epoch]
    shapes = Counter(_shape(text) for text in texts[:200])
    patterns = [pattern for shape, _ in shapes.most_common(2) for pattern in shape]
    return list(dict.fromkeys(patterns)) or ["iso"]


def _epoch(texts: Sequence[str]) -> str | None:
    """Which numbers since 1970 the texts are: those that lie between 2000 and today."""
    if not all(re.fullmatch(r"\d{9,16}(\.\d+)?", text) for text in texts):
        return None
    first, last = datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=2)
    for pattern, microseconds in EPOCHS.items():
        moments = [float(text) * microseconds / 1e6 for text in texts]
        if first.timestamp() <= min(moments) and max(moments) <= last.timestamp():
            return pattern
    return None


def _shape(text: str) -> tuple[str, ...]:
    match = _DATE.fullmatch(text)
    if match is None:
        return ("iso",)
    first, sign, middle, last, gap, seconds, fraction, half = match.groups()
    if len(first) == 4 and sign == "-":
        return ("iso",)
    hour = "%I" if half else "%H"
    clock = f"{gap}{hour}:%M" if gap else ""
    clock += (":%S" + (f"{fraction}%f" if fraction else "")) if seconds else ""
    clock += (" %p" if half[0].isspace() else "%p") if half else ""
    if len(first) == 4:
        return (f"%Y{sign}%m{sign}%d{clock}",)
    year = "%Y" if len(last) == 4 else "%y"
    if middle.isalpha():
        return (f"%d{sign}%b{sign}{year}{clock}",)
    return tuple(f"{order}{sign}{year}{clock}" for order in (f"%m{sign}%d", f"%d{sign}%m"))


def _durations(sample: Sample, spans: Numbers | None) -> Iterable[Guess]:
    """Columns that equal end - start; the one in the coarser unit is the session's length in seconds."""
    proven: list[tuple[int, str]] = []
    named: list[tuple[int, str | None]] = []
    for position in _by_concept(sample, "duration"):
        unit = sample.headers[position].unit
        found = None if spans is None else _duration_unit(sample.numbers(position), spans)
        if found:
            proven.append((position, found))
        else:
            named.append((position, unit))
    if len(proven) > 2:
        yield from (Guess(p, "duration_s", "guess", "one of several durations", u) for p, u in proven)
        return
    proven.sort(key=lambda pair: (-factor(pair[1], "s"), _grain(sample, pair[0]), pair[0]))
    for (position, unit), name in zip(proven, ("duration_s", "duration_ms"), strict=False):
        declared = sample.headers[position].unit
        is_twin = len({(u, _grain(sample, p)) for p, u in proven}) < len(proven)
        evidence = f"equals end - start in {unit}"
        evidence += "" if declared in (unit, None) else f", though its name says {declared}"
        yield Guess(position, name, "likely" if is_twin else "sure", evidence, unit)
    for position, unit in named:
        numbers = sample.numbers(position)
        if sample.numeric_share(position) < _PARSED:
            yield Guess(position, "duration_s", "guess", _no_numbers(sample, position))
        elif spans is not None and _usable(numbers, spans).sum() >= _ENOUGH:
            yield Guess(position, "duration_s", "guess", "named so, but does not equal end - start")
        elif proven or len(named) > 1:
            yield Guess(position, "duration_s", "guess", "named so, as others are")
        else:
            evidence = (
                "named so" if spans is None else "named so; too few records to compare with end - start"
            )
            yield Guess(position, "duration_s", "likely", evidence, unit if unit in FACTORS["s"] else None)


def _duration_unit(values: Numbers, spans: Numbers) -> str | None:
    import numpy as np

    usable = _usable(values, spans)
    if usable.sum() < _ENOUGH:
        return None
    tolerance = 90 + 0.01 * spans[usable] if spans[usable].min() >= 1200 else 1.5 + 0.01 * spans[usable]
    for unit in FACTORS["s"]:
        agrees = np.abs(values[usable] * factor(unit, "s") - spans[usable]) <= tolerance
        if agrees.mean() >= _AGREE:
            return unit
    return None


def _usable(values: Numbers, spans: Numbers) -> npt.NDArray[np.bool_]:
    """Which records are long enough that the clock's resolution cannot make two units agree."""
    import numpy as np

    usable = ~np.isnan(values) & (spans >= 1200)
    return usable if usable.sum() >= _ENOUGH else ~np.isnan(values) & (spans >= 20)


def _grain(sample: Sample, position: int) -> int:
    """0 where every value is a multiple of a thousand or the unit is coarse, 1 where it is finer."""
    import numpy as np

    values = sample.numbers(position)
    values = values[~np.isnan(values)]
    return 0 if values.size and bool((values % 1000 == 0).mean() >= _PARSED) else 1


# Measures in two directions, and shares and seconds by band


def _measure(sample: Sample, position: int, name: str, unit: str | None) -> Guess:
    quantity = SESSIONS[name].unit or ""
    known = unit if unit in FACTORS[quantity] else None
    share = sample.numeric_share(position)
    if share < _PARSED:
        return Guess(position, name, "guess", _no_numbers(sample, position), known)
    is_plain = sample.headers[position].is_direction_plain
    evidence = (
        "named so; all values are numbers" if share == 1 else f"named so; {100 * share:.1f} % are numbers"
    )
    evidence += "" if is_plain else "; the direction depends on the point of view"
    return Guess(position, name, "likely", evidence, known)


def _no_numbers(sample: Sample, position: int) -> str:
    texts = sample.texts(position)
    if not texts:
        return "named so, but empty"
    evidence = f"named so, but only {100 * sample.numeric_share(position):.1f} % of values are numbers"
    has_commas = sum("," in text for text in texts) >= 0.1 * len(texts)
    return (
        f"{evidence}: commas stand in them; export decimal points and no thousands"
        if has_commas
        else evidence
    )


def _directed(sample: Sample) -> Iterable[Guess]:
    for concept, name in _DIRECTED.items():
        for position in _by_concept(sample, concept):
            header = sample.headers[position]
            if header.direction:
                yield _measure(sample, position, name.format(header.direction), header.unit)


def _bands(sample: Sample) -> Iterable[Guess]:
    import numpy as np

    shares = {name for names in THROUGHPUT_SHARES for name in names}
    found: dict[str, Guess] = {}
    for position, header in enumerate(sample.headers):
        name = header.concept or ""
        if name in shares:
            guess = _measure(sample, position, name, header.unit)
            found[name] = guess if name not in found else replace(guess, certainty="guess")
        elif name in SESSIONS and SESSIONS[name].unit == "s" and header.band:
            yield _measure(sample, position, name, "s")
    for names in THROUGHPUT_SHARES:
        group = [found[name] for name in names if name in found]
        if len(group) == len(names) and all(guess.certainty == "likely" for guess in group):
            total = np.sum([sample.numbers(guess.position) for guess in group], axis=0)
            total = total[~np.isnan(total)]
            for unit, whole in (("percent", 100), ("share", 1), ("permille", 1000)):
                if total.size >= 30 and (np.abs(total - whole) <= 0.03 * whole).mean() >= _AGREE:
                    evidence = f"named so; with its siblings it sums to {whole}"
                    group = [replace(g, certainty="sure", evidence=evidence, unit=unit) for g in group]
        yield from group


# Volumes: totals and applications


def _volumes(sample: Sample) -> Iterable[Guess]:
    """Totals are proven by their parts, and parts by their total: one is the sum of some of the others."""
    proven: set[str] = set()
    guesses: list[tuple[Guess, str]] = []
    for direction in ("dl", "ul"):
        places = [p for p in _by_concept(sample, "volume") if sample.headers[p].direction == direction]
        for position in [p for p in places if sample.numeric_share(p) < _PARSED]:
            header = sample.headers[position]
            name = f"{direction}_bytes" if header.is_total else f"app_{slug(header.label)}_{direction}_bytes"
            yield Guess(position, name, "guess", _no_numbers(sample, position), header.unit)
        places = [p for p in places if sample.numeric_share(p) >= _PARSED]
        totals = [p for p in places if sample.headers[p].is_total]
        parts = [p for p in places if not sample.headers[p].is_total]
        members = _members(sample, totals[0], parts) if len(totals) == 1 else None
        for position in totals:
            header = sample.headers[position]
            is_proven = members and header.is_direction_plain
            evidence = f"named so; equals the sum of {len(members)} other volumes" if members else "named so"
            certainty: Certainty = "sure" if is_proven else "likely"
            yield Guess(position, f"{direction}_bytes", certainty, evidence, header.unit)
        for position in parts:
            header = sample.headers[position]
            key = slug(header.label)
            if members and position in members:
                proven.add(key)
            guess = Guess(
                position, f"app_{key}_{direction}_bytes", "likely",
                f"a volume named {header.label!r}", header.unit,
            )  # fmt: skip
            guesses.append((guess, key))
    directions = Counter(key for _, key in guesses)
    for guess, key in guesses:
        is_plain = sample.headers[guess.position].is_direction_plain
        if key in proven and directions[key] == 2:
            evidence = f"{guess.evidence}; it or its other direction is part of the total"
            yield replace(guess, certainty="sure" if is_plain else "likely", evidence=evidence)
        elif proven:
            yield replace(guess, certainty="guess", evidence=f"{guess.evidence}, but no part of a total")
        else:
            yield guess


def _members(sample: Sample, total: int, parts: Sequence[int]) -> set[int] | None:
    """Which parts a total is the sum of, by least squares; None where it is no sum of them."""
    import numpy as np

    columns = {p: sample.numbers(p) for p in parts}
    columns = {p: values for p, values in columns.items() if np.isnan(values).mean() < 0.05}
    whole = sample.numbers(total)
    if len(columns) < 2:
        return None
    table = np.column_stack(list(columns.values()))
    known = ~np.isnan(whole) & ~np.isnan(table).any(axis=1)
    if known.sum() < 30 + 3 * len(columns):
        return None
    rows = np.flatnonzero(known)[:5000]
    weights, *_ = np.linalg.lstsq(table[rows], whole[rows], rcond=None)
    if (np.abs(weights - weights.round()) > 0.05).any() or not set(weights.round()) <= {0.0, 1.0}:
        return None
    chosen = weights.round() == 1
    gap = np.abs(table[known][:, chosen].sum(axis=1) - whole[known])
    if chosen.sum() < 2 or (gap <= 0.5 + 1e-6 * whole[known]).mean() < _AGREE:
        return None
    return {p for p, is_member in zip(columns, chosen, strict=True) if is_member}


def _applications(guesses: Sequence[Guess], sample: Sample) -> tuple[Application, ...]:
    """The applications of the columns in use, in the file's order."""
    found: dict[str, str] = {}
    for guess in guesses:
        match = re.fullmatch(r"app_(.+)_(?:dl|ul)_bytes", guess.name)
        if match and guess.certainty != "guess":
            label = sample.headers[guess.position].label
            found.setdefault(match[1], label if any(c.isupper() for c in label) else label.capitalize())
    return tuple(Application(key, label) for key, label in found.items())
