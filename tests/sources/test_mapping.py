"""Mappings: what ships, what a file may say, and that writing one loses nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsight.contracts import Application
from subsight.errors import MappingError
from subsight.sources import mapping
from subsight.sources.mapping import MappedColumn, Mapping
from subsight.units import FACTORS


@pytest.mark.parametrize("name", ["tellco", "subsight", "acumos", "internet_service_churn"])
def test_shipped_mappings_survive_being_written(tmp_path: Path, name: str) -> None:
    original = mapping.read(name)
    path = tmp_path / "copy.toml"
    path.write_text(original.to_toml(), encoding="utf-8")
    assert mapping.read(path) == original


def test_the_tellco_mapping_covers_the_dictionary() -> None:
    tellco = mapping.read("tellco")
    assert [app.name for app in tellco.applications] == [
        "Social media", "Google", "Email", "YouTube", "Netflix", "Gaming", "Other",
    ]  # fmt: skip
    sources = [column.source for column in tellco.columns] + [
        column.milliseconds for column in tellco.columns if column.milliseconds
    ]
    assert len(sources) == 55


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(sources=st.lists(TEXTS, min_size=6, max_size=6), titles=st.lists(TEXTS, min_size=2, max_size=2),
       unit=st.sampled_from([None, "kB", "bytes"]), occurrence=st.integers(1, 3))  # fmt: skip
def test_any_mapping_survives_being_written(
    tmp_path_factory: pytest.TempPathFactory,
    sources: list[str],
    titles: list[str],
    unit: str | None,
    occurrence: int,
) -> None:
    number, start, extra, dl, ul, mail = sources
    original = Mapping(
        titles[0],
        "sessions",
        (
            MappedColumn("subscriber_id", number, occurrence),
            MappedColumn("start_at", start, 1, None, "%d.%m.%Y %H:%M", extra),
            MappedColumn("app_web_dl_bytes", dl, 1, unit),
            MappedColumn("app_web_ul_bytes", ul, 1, "MB"),
            MappedColumn("app_mail_dl_bytes", mail, 1, unit),
        ),
        (Application("web", titles[1]), Application("mail", "Mail")),
        titles[1],
    )
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(original.to_toml(), encoding="utf-8")
    assert by_name(mapping.read(path)) == by_name(original)


def by_name(one: Mapping) -> Mapping:
    return replace(one, columns=tuple(sorted(one.columns, key=lambda column: column.name)))


def test_positions_tell_repeated_headers_apart() -> None:
    tellco = mapping.read("tellco")
    plain = tellco.positions(["MSISDN/Number", "Dur. (ms)", "dur.  (ms)", "Start", "Start ms"])
    assert plain == {
        "subscriber_id": 0, "duration_s": 1, "duration_ms": 2, "start_at": 3, "start_at:milliseconds": 4,
    }  # fmt: skip
    # Readers that want each header once number the repeated ones.
    for second in ("Dur. (ms).1", "Dur. (ms)_1"):
        assert tellco.positions(["Dur. (ms)", second]) == {"duration_s": 0, "duration_ms": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is not TOML"),
        ('table = "journeys"', "maps an unknown table(.|\n)*found: journeys"),
        ('[columns.colour]\nsource = "Colour"', "maps colour, which is no column of sessions"),
        ('[columns.local_date]\nsource = "Day"', "maps local_date, which is no column"),
        ('[columns.rtt_dl_ms]\nsource = "RTT"\nunit = "kB"', "a unit that it cannot have(.|\n)*found: kB"),
        ('[columns.handset]\nsource = "Phone"\nunit = "ms"', "expected: no unit"),
        ('[columns.handset]\nunit = "ms"', "describes handset wrongly(.|\n)*found: no source"),
        ('[columns.handset]\nsource = "Phone"\ncolour = "red"', "found: colour"),
        ('[columns.handset]\nsource = 5', "found: source = 5"),
        ('[columns.handset]\nsource = "Phone"\noccurrence = "two"', "found: occurrence = 'two'"),
        ('columns = 5', "found: columns"),
        ('[columns]\nhandset = "Phone"', "describes handset wrongly"),
        ('[applications.Web]\ndl = "Web"', "names an application 'Web'"),
        ('[columns.start_at]\nsource = "Start"\nformat = "dd/mm/yyyy"', "found: dd/mm/yyyy"),
    ],
)  # fmt: skip
def test_what_a_mapping_may_not_say(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "vendor.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MappingError, match=message) as caught:
        mapping.read(path)
    assert "vendor.toml" in str(caught.value)


def test_no_such_mapping(tmp_path: Path) -> None:
    with pytest.raises(
        MappingError, match=r"there is no mapping(.|\n)*subsight, tellco(.|\n)*--write-mapping"
    ):
        mapping.read(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MappingError, match="is not TOML"):
        mapping.read(tmp_path / "binary.toml")


def test_the_page_on_mappings_holds_a_mapping_and_every_unit(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "mappings.md").read_text(encoding="utf-8")
    example = page.split("```toml")[1].split("```")[0]
    (tmp_path / "acme.toml").write_text(example, encoding="utf-8")
    read = mapping.read(tmp_path / "acme.toml")
    assert {"subscriber_id", "start_at", "duration_s", "dl_bytes", "app_video_dl_bytes"} <= {
        column.name for column in read.columns
    }
    for canonical, units in FACTORS.items():
        assert f"| {canonical} | {', '.join(units)} |" in page
