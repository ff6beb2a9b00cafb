"""What is proposed for files of vendors nobody has described, and how sure it may be."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from subsight.errors import MappingError
from subsight.settings import Settings
from subsight.simulate import Operator, simulate
from subsight.sources import files, inspection, mapping
from subsight.sources.findings import merged
from subsight.sources.headers import Header, slug
from subsight.sources.proposal import Proposal, propose
from subsight.store import Store

ROWS = 400
SETTINGS = Settings()


def vendor(pattern: str = "%Y-%m-%d %H:%M:%S", days: int = 28, seed: int = 5) -> dict[str, list[str]]:
    """An extract with short columns whose meaning is plain; the caller renames or spoils them."""
    draw = random.Random(seed)
    table: dict[str, list[str]] = {}
    for _ in range(ROWS):
        start = datetime(2024, 5, 1) + timedelta(seconds=draw.randrange(days * 86_400))
        length = draw.randrange(2_000, 90_000)
        web, mail = draw.randrange(1, 10**9), draw.randrange(1, 10**8)
        up_web, up_mail = draw.randrange(1, 10**7), draw.randrange(1, 10**6)
        for name, value in {
            "msisdn": f"4179{draw.randrange(10**7):07d}",
            "start_time": start.strftime(pattern),
            "end_time": (start + timedelta(seconds=length)).strftime(pattern),
            "duration": str(length),
            "web_dl": str(web), "web_ul": str(up_web), "mail_dl": str(mail), "mail_ul": str(up_mail),
            "total_dl": str(web + mail), "total_ul": str(up_web + up_mail),
        }.items():  # fmt: skip
            table.setdefault(name, []).append(value)
    return table


def write(path: Path, table: dict[str, list[str]]) -> files.InputFile:
    lines = [",".join(table), *map(",".join, zip(*table.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files.recognise(path)


def renamed(table: dict[str, list[str]], **names: str) -> dict[str, list[str]]:
    return {names.get(name, name): values for name, values in table.items()}


def found(proposal: Proposal, file: files.InputFile) -> dict[str, tuple[str, str]]:
    return {file.header[i]: (guess.name, guess.certainty) for i, guess in proposal.guesses.items()}


def test_name_and_data_agree(duck: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "new vendor.csv", vendor())
    proposal = propose(duck, file, SETTINGS)
    assert found(proposal, file) == {
        "msisdn": ("subscriber_id", "sure"),
        "start_time": ("start_at", "sure"), "end_time": ("end_at", "sure"),
        "duration": ("duration_s", "sure"),
        "web_dl": ("app_web_dl_bytes", "sure"), "web_ul": ("app_web_ul_bytes", "sure"),
        "mail_dl": ("app_mail_dl_bytes", "sure"), "mail_ul": ("app_mail_ul_bytes", "sure"),
        "total_dl": ("dl_bytes", "sure"), "total_ul": ("ul_bytes", "sure"),
    }  # fmt: skip
    assert proposal.mapping.name == "new_vendor"
    assert [app.name for app in proposal.mapping.applications] == ["Web", "Mail"]
    # What is proposed can be written, read and used.
    path = tmp_path / "vendor.toml"
    path.write_text(proposal.mapping.to_toml(), encoding="utf-8")
    given = inspection.inspect(duck, file, SETTINGS, mapping.read(path))
    assert given.origin == "given"
    assert {column.certainty for column in given.columns} == {"sure"}
    units = {column.column: (column.unit, column.unit_certainty) for column in given.columns}
    assert units["duration_s"] == ("s", "checked")
    assert units["dl_bytes"] == ("bytes", "assumed")


def test_the_order_of_day_and_month_is_not_guessed(duck: Store, tmp_path: Path) -> None:
    # From the 1st to the 11th both orders read every value, and starts are before ends in most.
    table = vendor("%d/%m/%Y %H:%M:%S", days=10)
    del table["duration"]
    file = write(tmp_path / "a.csv", table)
    proposal = propose(duck, file, SETTINGS)
    assert found(proposal, file)["start_time"] == ("start_at", "guess")
    with pytest.raises(MappingError, match=r"start_at(.|\n)*both read every value(.|\n)*--mapping"):
        inspection.choose(duck, file, SETTINGS)


def test_the_order_of_day_and_month_shows_over_midnight(duck: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", vendor("%d/%m/%Y %H:%M:%S", days=10))
    proposal = propose(duck, file, SETTINGS)
    assert found(proposal, file)["start_time"] == ("start_at", "sure")
    assert proposal.mapping["start_at"] is not None
    assert proposal.mapping["start_at"].format == "%d/%m/%Y %H:%M:%S"


@pytest.mark.parametrize(
    "pattern",
    ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+02:00", "%d.%m.%Y %H:%M:%S",
     "%m/%d/%Y %H:%M:%S", "%d-%m-%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S", "%m/%d/%y %H:%M:%S",
     "%m/%d/%Y %I:%M:%S %p", "%d-%b-%Y %H:%M:%S"],
)  # fmt: skip
def test_formats_of_times(duck: Store, tmp_path: Path, pattern: str) -> None:
    file = write(tmp_path / "a.csv", vendor(pattern))
    entries = inspection.inspect(duck, file, SETTINGS)
    times = {
        c.column: c.certainty for c in entries.columns if c.column in ("start_at", "end_at", "duration_s")
    }
    assert times == {"start_at": "sure", "end_at": "sure", "duration_s": "sure"}
    first = datetime.strptime(vendor()["start_time"][0], "%Y-%m-%d %H:%M:%S")
    hours = 2 if "+02" in pattern else 0
    starts = [datetime.strptime(text, "%Y-%m-%d %H:%M:%S") for text in vendor()["start_time"]]
    assert first in starts
    expected = (min(starts) - timedelta(hours=hours)).isoformat()
    assert entries.coverage["first_at"] == f"{expected}+00:00"


@pytest.mark.parametrize(
    ("names", "column", "expected"),
    [
        # A phone number may be the other party's; a direction may be the network's.
        ({"msisdn": "phone_number"}, "phone_number", ("subscriber_id", "likely")),
        ({"total_dl": "total_rx", "total_ul": "total_tx"}, "total_rx", None),
        ({"msisdn": "imsi"}, "imsi", ("imsi_id", "guess")),
        ({"msisdn": "imei"}, "imei", ("imei_id", "guess")),
        ({"start_time": "end_time", "end_time": "start_time"}, "start_time", ("start_at", "likely")),
        ({"web_dl": "latency_dl"}, "latency_dl", ("rtt_dl_ms", "likely")),
        ({"msisdn": "called_msisdn"}, "called_msisdn", None),
    ],
)
def test_doubt(
    duck: Store, tmp_path: Path, names: dict[str, str], column: str, expected: tuple[str, str] | None
) -> None:
    file = write(tmp_path / "a.csv", renamed(vendor(), **names))
    guesses = found(propose(duck, file, SETTINGS), file)
    if expected is None:
        assert guesses.get(column, ("", ""))[1] != "sure"
    else:
        assert guesses[column] == expected


def test_two_columns_for_one_are_both_in_doubt(duck: Store, tmp_path: Path) -> None:
    table = vendor()
    table["latency_ul"] = table["rtt_ul_ms"] = ["12"] * ROWS
    file = write(tmp_path / "a.csv", table)
    proposal = propose(duck, file, SETTINGS)
    guesses = found(proposal, file)
    assert guesses["latency_ul"] == guesses["rtt_ul_ms"] == ("rtt_ul_ms", "guess")
    assert proposal.mapping["rtt_ul_ms"] is None


def test_a_pair_that_is_no_part_of_the_total_is_no_application(duck: Store, tmp_path: Path) -> None:
    table = vendor()
    draw = random.Random(1)
    table["roaming_dl"] = [str(draw.randrange(10**8)) for _ in range(ROWS)]
    table["roaming_ul"] = [str(draw.randrange(10**8)) for _ in range(ROWS)]
    file = write(tmp_path / "a.csv", table)
    guesses = found(propose(duck, file, SETTINGS), file)
    assert guesses["roaming_dl"] == ("app_roaming_dl_bytes", "guess")
    assert guesses["web_dl"] == ("app_web_dl_bytes", "sure")


def test_text_in_a_number_column_is_no_number_column(duck: Store, tmp_path: Path) -> None:
    table = vendor() | {"rtt_dl_ms": ["fast"] * ROWS}
    file = write(tmp_path / "a.csv", table)
    assert found(propose(duck, file, SETTINGS), file)["rtt_dl_ms"] == ("rtt_dl_ms", "guess")


@pytest.mark.parametrize(
    ("pattern", "scale", "names"),
    [
        ("epoch_s", 1, {}),
        ("epoch_ms", 1000, {"start_time": "start_time_ms", "end_time": "end_time_ms"}),
        ("epoch_us", 1_000_000, {}),
    ],
)
def test_times_as_numbers_since_1970(
    duck: Store, tmp_path: Path, pattern: str, scale: int, names: dict[str, str]
) -> None:
    table = vendor()
    for name in ("start_time", "end_time"):
        moments = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in table[name]]
        table[name] = [str(int(moment.timestamp()) * scale) for moment in moments]
    file = write(tmp_path / "a.csv", renamed(table, **names))
    proposal = propose(duck, file, SETTINGS)
    guesses = found(proposal, file)
    assert guesses[names.get("start_time", "start_time")] == ("start_at", "sure")
    assert guesses[names.get("end_time", "end_time")] == ("end_at", "sure")
    assert guesses["duration"] == ("duration_s", "sure")
    assert {c.format for c in proposal.mapping.columns if c.name.endswith("_at")} == {pattern}


def test_hours_written_as_a_number_are_no_seconds_since_1970(duck: Store, tmp_path: Path) -> None:
    """2024050113 is one o'clock on the first of May; as seconds it would lie in 2034."""
    file = write(tmp_path / "a.csv", vendor("%Y%m%d%H"))
    assert found(propose(duck, file, SETTINGS), file)["start_time"] == ("start_at", "guess")


def test_what_a_proposal_leaves_aside_is_said_at_ingest(duck: Store, tmp_path: Path) -> None:
    """Numbers with decimal commas or thousands are none; a reader must learn what is missing for it."""
    table = vendor()
    table["rtt_dl_ms"] = ['"1,5"'] * ROWS
    table["total_dl"] = [f"{int(value):,}".replace(",", " ") for value in table["total_dl"]]
    table["web_ul"] = [f"{value} B" for value in table["web_ul"]]
    choice = inspection.choose(duck, write(tmp_path / "a.csv", table), SETTINGS)
    said = {finding.column: finding for finding in choice.findings}
    assert said.keys() == {"columns", "rtt_dl_ms", "dl_bytes", "app_web_ul_bytes"}
    assert {finding.severity for finding in said.values()} == {"warning"}
    assert (
        "'rtt_dl_ms' is left out: named so, but only 0.0 % of values are numbers: commas"
        in said["rtt_dl_ms"].text
    )
    assert "8 of its 11 columns are recognised" in said["columns"].text


def test_a_file_too_small_for_proof_keeps_its_duration(duck: Store, tmp_path: Path) -> None:
    table = {name: values[:5] for name, values in vendor().items()}
    guesses = found(
        propose(duck, write(tmp_path / "a.csv", table), SETTINGS), files.recognise(tmp_path / "a.csv")
    )
    assert guesses["duration"] == ("duration_s", "likely")


def test_findings_of_several_inputs_add_up_and_say_where_they_differ() -> None:
    def one(text: str) -> dict[str, object]:
        return {"column": "dl_bytes", "check": "unit", "severity": "warning", "count": 2, "text": text}

    assert merged([[one("in 20% of records")], [one("in 20% of records")]]) == [
        one("in 20% of records") | {"count": 4}
    ]
    (finding,) = merged([[one("in 20% of records")], [one("in 70% of records")], []])
    assert finding["count"] == 4
    assert str(finding["text"]).startswith("in 20% of records (figures of the first input; 1 others")


def test_what_is_missing_is_said(duck: Store, tmp_path: Path) -> None:
    table = vendor()
    del table["msisdn"], table["total_ul"], table["web_ul"], table["mail_ul"]
    file = write(tmp_path / "a.csv", table)
    with pytest.raises(MappingError, match=r"subscriber_id or ul_bytes(.|\n)*uplink volume") as caught:
        inspection.choose(duck, file, SETTINGS)
    assert "start_at" not in str(caught.value.expected)
    found = inspection.inspect(duck, file, SETTINGS)
    assert str(found.lacking) == str(caught.value)
    assert "start_at" in {column.column for column in found.columns}


def test_a_simulated_operator_is_known(duck: Store, tmp_path: Path) -> None:
    made = simulate(Operator(subscribers=200, sessions=3000, seed=3), tmp_path, file_format="csv")
    entries = inspection.inspect(duck, files.recognise(made.sessions), SETTINGS)
    assert (entries.mapping.name, entries.origin) == ("subsight", "shipped")
    assert not [f for f in entries.findings if f.severity in ("corrected", "refused")]
    assert {c.source: c.column for c in entries.columns if c.column is None} == {}


def test_an_inspection_is_json_and_parquet_reads_as_text_does(duck: Store, tmp_path: Path) -> None:
    text = inspection.inspect(duck, write(tmp_path / "a.csv", vendor()), SETTINGS)
    pq.write_table(arrow_csv.read_csv(tmp_path / "a.csv"), tmp_path / "a.parquet")
    typed = inspection.inspect(duck, files.recognise(tmp_path / "a.parquet"), SETTINGS)
    one, other = json.loads(json.dumps(text.to_json())), json.loads(json.dumps(typed.to_json()))
    assert one["file"] == {
        "name": "a.csv", "kind": "csv", "delimiter": ",", "encoding": "utf-8", "records": ROWS, "columns": 10,
    }  # fmt: skip
    assert other["file"]["kind"] == "parquet"
    for key in ("mapping", "origin", "findings", "rejects", "coverage"):
        assert one[key] == other[key], key
    assert sum(day["session_count"] for day in one["coverage"]["days"]) == ROWS
    assert [(c["column"], c["certainty"]) for c in one["columns"]] == [
        (c["column"], c["certainty"]) for c in other["columns"]
    ]


@pytest.mark.parametrize(
    ("text", "concept", "direction", "unit"),
    [
        ("Avg RTT DL (ms)", "rtt", "dl", "ms"),
        ("rttDownlinkMs", "rtt", "dl", "ms"),
        ("Max RTT DL (ms)", None, "dl", "ms"),
        ("servedMSISDN", "subscriber_id", None, None),
        ("Last Location Name", "cell_id", None, None),
        ("eNodeB", "cell_id", None, None),
        ("VolumeUL(KB)", "volume", "ul", "kB"),
        ("total_downlink_KiB", "volume", "dl", "KiB"),
        ("bytes_up", "volume", "ul", "bytes"),
        ("DL TP > 1 Mbps (%)", "dl_above_1000_kbps_share", "dl", "percent"),
        ("pct_time_ul_between_10_and_50_kbps", "ul_10_to_50_kbps_share", "ul", "percent"),
        ("DL TP < 60 Kbps (%)", None, "dl", "percent"),
        ("Nb of sec with 125000B < Vol DL", "dl_volume_above_125000_s", "dl", "s"),
        ("Start ms", "start_at:milliseconds", None, "ms"),
        ("session_end_time", "end_at", None, None),
        ("colour", None, None, None),
        ("", None, None, None),
    ],
)
def test_headers(text: str, concept: str | None, direction: str | None, unit: str | None) -> None:
    header = Header(text)
    assert (header.concept, header.direction, header.unit) == (concept, direction, unit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Social Media DL (Bytes)", "social_media"), ("YouTube UL (Bytes)", "youtube"),
     ("2G Mail_dl", "app_2g_mail"), ("facebookDownlinkBytes", "facebook")],
)  # fmt: skip
def test_names_of_applications(text: str, expected: str) -> None:
    assert slug(Header(text).label) == expected
