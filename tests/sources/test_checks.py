"""What the data say about units, totals, times and identifiers, on files whose answers are plain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hand_made import BANDS, CLEAR, PLAIN, VENDOR, changed, ingest, rows, write

from subsight.errors import MappingError
from subsight.sources import files, xdr
from subsight.store import Store


def with_units(**units: str | None) -> xdr.Mapping:
    columns = tuple(replace(c, unit=units[c.name]) if c.name in units else c for c in VENDOR.columns)
    return replace(VENDOR, columns=columns)


def test_two_durations_one_in_seconds_one_in_milliseconds(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(4)))
    decisions = got.parsed.decisions
    assert (decisions.units["duration_s"], decisions.certainty["duration_s"]) == ("s", "checked")
    assert (decisions.units["duration_ms"], decisions.certainty["duration_ms"]) == ("ms", "checked")
    assert got.notes("duration_s") == [("unit", "corrected", 4)]
    assert got.notes("duration_ms") == [("unit", "note", 4)]


def test_durations_that_are_in_milliseconds_are_left_alone(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(4, Dur="3600000")))
    assert got.notes("duration_s") == [("unit", "note", 4)]
    assert [s["duration_s"] for s in got.sessions] == [3600.0] * 4


def test_durations_of_one_header_in_the_other_order(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(4, **{"Dur": "3600500", "Dur.2": "3600"})))
    assert got.parsed.decisions.swapped
    assert [(s["duration_s"], s["duration_ms"]) for s in got.sessions] == [(3600.0, 3_600_500.0)] * 4


def test_a_duration_that_is_none_is_refused(duck: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows(4, Dur="77"))
    with pytest.raises(
        MappingError, match=r"the unit of duration_s contradicts the data(.|\n)*in 0\.0 % of 4"
    ):
        ingest(duck, path)
    found = xdr.parse_leniently(duck, files.recognise(path), VENDOR, CLEAR).decisions
    assert [str(refusal).splitlines()[0] for refusal in found.refusals] == [
        "the unit of duration_s contradicts the data"
    ]


def test_short_sessions_say_nothing_about_units(duck: Store, tmp_path: Path) -> None:
    # Recorded to the minute, a span of 3 minutes may be 2 or 4: too short to tell units apart.
    short = rows(4, End="5/1/2024 10:03", **{"Start ms": "", "End ms": "", "Dur": "100", "Dur.2": "100000"})
    decisions = ingest(duck, write(tmp_path / "a.csv", short)).parsed.decisions
    assert decisions.certainty["duration_s"] == "declared"
    assert decisions.resolution_s == 60


def test_minutes_are_noticed(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(3)))
    assert got.notes("start_at") == [("resolution", "note", 3)]
    # Recorded to the minute, an end may seem to come before its start by less than one.
    got = ingest(
        duck, write(tmp_path / "b.csv", [*rows(3), changed(PLAIN, End="5/1/2024 10:00", End_ms="1")])
    )
    assert got.rejects == []


def test_a_total_that_leaves_one_application_out(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(4)))
    assert got.parsed.decisions.left_out == {"dl": "rest"}
    assert got.notes("dl_bytes") == [("total", "corrected", 4)]
    assert got.notes("ul_bytes") == [("total", "note", 4)]


def test_a_total_that_is_the_sum_is_left_alone(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(4, **{"Total DL": "4500"})))
    assert got.parsed.decisions.left_out == {}
    assert got.notes("dl_bytes") == [("total", "note", 4)]
    assert [s["dl_bytes"] for s in got.sessions] == [4500] * 4


def test_a_total_beyond_its_parts_is_kept(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(4, **{"Total DL": "9999"})))
    assert got.notes("dl_bytes") == [("total", "warning", 4)]
    assert [s["dl_bytes"] for s in got.sessions] == [9999] * 4


def test_a_total_in_another_unit_than_its_parts_is_refused(duck: Store, tmp_path: Path) -> None:
    table = rows(4, **{"web dl": "3000000", "mail dl": "1000000", "rest dl": "500000", "Total DL": "4500"})
    path = write(tmp_path / "a.csv", table)
    with pytest.raises(MappingError, match="dl_bytes and its parts are in different units"):
        ingest(duck, path)
    # Said in the mapping, it is read.
    got = ingest(duck, path, with_units(dl_bytes="kB"))
    assert [s["dl_bytes"] for s in got.sessions] == [4_500_000] * 4


@pytest.mark.parametrize(
    ("values", "unit"),
    [(("70", "20", "10", "0"), "percent"), (("0.7", "0.2", "0.1", "0"), "share"),
     (("700", "200", "100", "0"), "permille")],
)  # fmt: skip
@pytest.mark.parametrize("declared", ["percent", "share", None])
def test_shares_sum_to_one_whole(
    duck: Store, tmp_path: Path, values: tuple[str, ...], unit: str, declared: str | None
) -> None:
    table = rows(4, **dict(zip(BANDS, values, strict=True)))
    got = ingest(duck, write(tmp_path / "a.csv", table), with_units(**dict.fromkeys(BANDS, declared)))
    decisions = got.parsed.decisions
    assert {(decisions.units[name], decisions.certainty[name]) for name in BANDS} == {(unit, "checked")}
    # Where nothing is declared, a share of one whole is assumed.
    severity = "note" if (declared or "share") == unit else "corrected"
    assert got.notes(BANDS[0]) == [("unit", severity, 4)]
    assert [round(got.sessions[0][name], 9) for name in BANDS] == [0.7, 0.2, 0.1, 0.0]


def test_volumes_with_fractions_and_no_proof_are_refused(duck: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows(4, **{"Total UL": "0.601", "web ul": "0.3", "mail ul": "0.201",
                                                "rest ul": "0.1"}))  # fmt: skip
    with pytest.raises(MappingError, match=r"contradicts the data(.|\n)*give the column its unit"):
        ingest(duck, path)
    said = dict.fromkeys(("ul_bytes", "app_web_ul_bytes", "app_mail_ul_bytes", "app_rest_ul_bytes"), "MB")
    got = ingest(duck, path, with_units(**said))
    assert [s["ul_bytes"] for s in got.sessions] == [601_000] * 4
    assert got.parsed.decisions.certainty["ul_bytes"] == "declared"


def test_a_format_that_does_not_read_the_times_is_refused(duck: Store, tmp_path: Path) -> None:
    with pytest.raises(
        MappingError, match=r"the format of start_at contradicts the data(.|\n)*4 of 4 values"
    ):
        ingest(duck, write(tmp_path / "a.csv", rows(4, Start="2024-05-01 10:00")))


def test_identifiers_that_lost_digits_to_a_spreadsheet(duck: Store, tmp_path: Path) -> None:
    table = [
        *rows(3, Bearer="1.31144834608449E+19", Cell="4E21"),
        *rows(2, Bearer="13114483460844900000", Cell="1.53279754934046E+17"),
    ]
    got = ingest(duck, write(tmp_path / "a.csv", table))
    assert got.notes("bearer_id") == [("digits", "warning", 5)]
    assert got.notes("cell_id") == [("digits", "warning", 2)]
    assert {s["bearer_id"] for s in got.sessions} == {None}
    # A hexadecimal name with an E in it has lost nothing.
    assert sorted(str(s["cell_id"]) for s in got.sessions) == ["4E21", "4E21", "4E21", "None", "None"]


def test_long_numbers_that_end_in_zero_by_chance_stay(duck: Store, tmp_path: Path) -> None:
    table = [row | {"Bearer": f"1234567890123456{i}"} for i, row in enumerate(rows(10))]
    got = ingest(duck, write(tmp_path / "a.csv", table))
    assert got.notes("bearer_id") == []
    assert sum(s["bearer_id"] is not None for s in got.sessions) == 10


def test_lengths_that_few_values_share_are_flagged(duck: Store, tmp_path: Path) -> None:
    # 1 of 1,002 is below 0.1%.
    table = [*rows(1001), changed(PLAIN, Phone="3197020111111")]
    got = ingest(duck, write(tmp_path / "a.csv", table))
    assert got.parsed.decisions.unusual_lengths == (13,)
    assert got.notes("subscriber_id") == [("length", "warning", 1)]
    flagged = [s["subscriber_id"] for s in got.sessions if s["is_msisdn_unusual"]]
    assert flagged == ["3197020111111"]
    assert len(got.sessions) == 1002
    # 1 of 1,000 is not.
    got = ingest(duck, write(tmp_path / "b.csv", [*rows(999), changed(PLAIN, Phone="3197020111111")]))
    assert got.parsed.decisions.unusual_lengths == ()


def test_nothing_to_compare_with_is_no_certainty(duck: Store, tmp_path: Path) -> None:
    kept = [c for c in VENDOR.columns if c.name not in ("end_at", BANDS[3]) and not c.name.startswith("app_")]
    mapping = replace(VENDOR, columns=tuple(kept), applications=())
    got = ingest(duck, write(tmp_path / "a.csv", rows(4)), mapping)
    certainty = got.parsed.decisions.certainty
    assert {certainty[name] for name in ("duration_s", "duration_ms", *BANDS[:3], "dl_bytes")} == {"declared"}
    unsaid = replace(mapping, columns=tuple(replace(c, unit=None) for c in kept))
    certainty = ingest(duck, tmp_path / "a.csv", unsaid).parsed.decisions.certainty
    assert set(certainty.values()) == {"assumed"}


def test_what_was_neither_declared_nor_checked_is_said(duck: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows(4))
    assert ingest(duck, path).notes("units") == []
    unsaid = replace(
        VENDOR, columns=tuple(replace(c, unit=None) for c in VENDOR.columns if c.name != "end_at")
    )
    got = ingest(duck, path, unsaid)
    assert got.notes("units") == [("unit", "warning", 4)]
    (text,) = (f.text for f in got.parsed.decisions.findings if f.column == "units")
    assert "rtt_dl_ms (ms)" in text
    assert BANDS[0] not in text  # the bands sum to one whole: checked


def test_values_that_no_session_has_are_kept_and_said(duck: Store, tmp_path: Path) -> None:
    odd = [
        changed(PLAIN, Start="5/1/1970 10:00", End="5/1/1970 11:00"),
        changed(PLAIN, Start="5/1/2224 10:00", End="5/1/2224 11:00"),
        changed(PLAIN, End="5/1/2124 11:00"),
    ]
    got = ingest(duck, write(tmp_path / "a.csv", [*rows(40), *odd]))
    assert len(got.sessions) == 43
    assert got.notes("start_at")[-2:] == [("range", "warning", 1), ("range", "warning", 1)]
    assert ("range", "warning", 1) in got.notes("end_at")
    assert not [
        n for n in ingest(duck, write(tmp_path / "b.csv", rows(4))).notes("start_at") if n[0] == "range"
    ]


def test_a_number_with_the_prefix_to_dial_abroad_is_the_same_subscriber(store: Store, tmp_path: Path) -> None:
    table = [changed(PLAIN, Phone=text, RTT=str(i)) for i, text in enumerate(("0033610000001", "+33610000001",
             "33610000001", "00", "0610000001"))]  # fmt: skip
    got = ingest(store, write(tmp_path / "a.csv", table))
    ids = [str(s["subscriber_id"]) for s in got.sessions]
    assert sorted(ids, reverse=True) == ["None", *["33610000001"] * 3, "0610000001"]
    assert [note for note in got.notes("subscriber_id") if note[0] in ("prefix", "national")] == [
        ("prefix", "note", 2), ("national", "warning", 1),
    ]  # fmt: skip


def test_numbers_inside_one_country_are_no_contradiction(duck: Store, tmp_path: Path) -> None:
    got = ingest(duck, write(tmp_path / "a.csv", rows(3, Phone="0610000001")))
    assert ("national", "note", 3) in got.notes("subscriber_id")


def test_names_with_control_characters_are_unknown(store: Store, tmp_path: Path) -> None:
    """A chart or a database would refuse them."""
    table = [
        *rows(2),
        changed(PLAIN, Device="Hua\0wei", Cell="A\x1bB", RTT="61"),
        changed(PLAIN, Cell="A\tB", RTT="62"),
    ]
    got = ingest(store, write(tmp_path / "a.csv", table))
    assert got.notes("handset") == got.notes("cell_id") == [("text", "warning", 1)]
    assert sorted(str(s["handset"]) for s in got.sessions) == [*["Huawei B528S"] * 3, "None"]
    assert sorted(str(s["cell_id"]) for s in got.sessions) == ["A\tB", *["G00619B"] * 2, "None"]
