"""Offers and purchases: hand-made catalogues and histories on each engine, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsight import ingestion
from subsight.errors import InputError, MappingError
from subsight.privacy import pseudonym
from subsight.settings import Settings, load
from subsight.sources import files, mapping, offer_columns, offers, purchases, xdr
from subsight.sources.flows import Read
from subsight.store import Store
from subsight.workspace import Workspace

KEY = "k" * 32
HEADER = "offer_id,price,data_bytes,valid_from,valid_to,eligibility,margin"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)


def write(tmp_path: Path, *lines: str, header: str = HEADER, name: str = "catalogue.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def catalogue(
    store: Store, path: Path, own: Path | None = None, **settings: Any
) -> tuple[dict[str, Any], Read]:
    """The offers by their ids, and the rest."""
    file = files.recognise(path, 1)
    given = mapping.read(own) if own else offer_columns.choose(file, "offers").mapping
    found = offers.read(store, file, given, load(**settings))
    rows = {row.pop("offer_id"): row for row in store.rows(found.reading.rows)}
    for row in rows.values():
        for name in ("valid_from", "valid_to"):
            row[name] = row[name] and row[name].astimezone(UTC)
    return rows, found


def reasons(store: Store, found: Read) -> dict[str, int]:
    told = xdr.reject_reasons(store, found.reading.rejects, found.ragged)
    return {f"{r['column']}|{r['reason']}": r["count"] for r in told}


def test_a_catalogue_is_read(store: Store, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "F3000G100M,9.99,100000000,2026-01-01T00:00:00Z,2026-07-01T12:00:00Z,,2.5",
        " F1200G50M ,0,,,,\"segment=Gold,Platinum; min_dl_bytes=5e9\",-1",
        "f1200g50m,,0,NA,null,NA,",
        "15.0,1e1,5,,,,",
    )  # fmt: skip
    rows, found = catalogue(store, path)
    assert reasons(store, found) == {}
    absent = dict.fromkeys(("price", "data_bytes", "valid_from", "valid_to", "eligibility", "margin"))
    assert rows == {
        "F3000G100M": {
            "price": 9.99, "data_bytes": 100_000_000, "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
            "valid_to": datetime(2026, 7, 1, 12, tzinfo=UTC), "eligibility": None, "margin": 2.5,
        },
        "F1200G50M": absent | {
            "price": 0.0, "eligibility": "segment=Gold,Platinum; min_dl_bytes=5e9", "margin": -1.0,
        },
        "f1200g50m": absent | {"data_bytes": 0},
        "15": absent | {"price": 10.0, "data_bytes": 5},
    }  # fmt: skip


def test_an_end_that_is_a_date_is_the_end_of_that_day(store: Store, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "A,2026-03-28,2026-03-28",
        "B,2026-03-29,2026-03-29",  # 23 hours long in Paris
        "C,2026-10-25,2026/10/25",  # and 25
        "D,2026-10-25 00:00,2026-10-25T00:30",
        "E,,2026-10-25T00:30:00+02:00",
        header="offer_id,valid_from,valid_to",
    )
    rows, found = catalogue(store, path, time_zone="Europe/Paris")
    assert reasons(store, found) == {}
    assert {name: (row["valid_from"], row["valid_to"]) for name, row in rows.items()} == {
        "A": (datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        "B": (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        "C": (datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)),
        "D": (datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, 30, tzinfo=UTC)),
        "E": (None, datetime(2026, 10, 24, 22, 30, tzinfo=UTC)),
    }


def test_a_typed_catalogue_is_read_as_it_is(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.parquet"
    at = datetime(2026, 1, 1, 6, tzinfo=UTC)
    pq.write_table(pa.table({
        "OFFER_ID": pa.array([7, 8]),
        "Price": pa.array([1, 2], pa.int32()),
        "valid_from": pa.array([at, None], pa.timestamp("us", "UTC")),
        "valid_to": pa.array([date(2026, 1, 1), date(2026, 1, 2)], pa.date32()),
        "colour": ["red", "blue"],
    }), path)  # fmt: skip
    rows, found = catalogue(store, path)
    assert reasons(store, found) == {}
    assert {n: (r["price"], r["valid_from"], r["valid_to"]) for n, r in rows.items()} == {
        "7": (1.0, at, datetime(2026, 1, 2, tzinfo=UTC)), "8": (2.0, None, datetime(2026, 1, 3, tzinfo=UTC)),
    }  # fmt: skip


def test_a_mapping_names_units_and_formats(duck: Store, tmp_path: Path) -> None:
    own = tmp_path / "crm.toml"
    own.write_text(
        'name = "crm"\ntable = "offers"\n'
        '[columns.offer_id]\nsource = "code"\n'
        '[columns.data_bytes]\nsource = "gigabytes"\nunit = "GB"\n'
        '[columns.valid_from]\nsource = "from"\nformat = "%d/%m/%Y %H:%M"\n'
        '[columns.valid_to]\nsource = "to"\nformat = "%d/%m/%Y"\n'
    )
    path = write(tmp_path, "A,0.1,01/02/2026 08:30,03/02/2026", header="code,gigabytes,from,to")
    rows, found = catalogue(duck, path, own)
    assert (rows["A"]["data_bytes"], rows["A"]["valid_from"], rows["A"]["valid_to"]) == (
        100_000_000, datetime(2026, 2, 1, 8, 30, tzinfo=UTC), datetime(2026, 2, 4, tzinfo=UTC),
    )  # fmt: skip
    assert found.decisions.certainty == {"data_bytes": "declared"}
    own.write_text(own.read_text().replace('"%d/%m/%Y"', '"epoch_s"'))
    path = write(tmp_path, "A,0.1,01/02/2026 08:30,1770076800", header="code,gigabytes,from,to")
    assert catalogue(duck, path, own)[0]["A"]["valid_to"] == datetime(2026, 2, 3, tzinfo=UTC)


def test_offers_that_cannot_be_are_rejected_and_counted(store: Store, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        ",1,1,,,,",
        "A,-0.01,1,,,,",
        "B,1,-1,,,,",
        "C,1,1.5,,,,",
        "D,cheap,1,,,,",
        "E,1,1,soon,,,",
        "F,1,1,2026-02-01,2026-01-31,,",
        "G,1,1,2026-02-01T10:00,2026-02-01T10:00,,",
        "H,1,1,,,Gold,",
        "I,1,1,,,min_dl_bytes=much,",
        "J,1,1,,,,1",
        "J,1,1,,,,1",
        "J,1.0,1,,,NA,1.0",
        "K,1,1,,,,1",
        "K,2,1,,,,1",
        "K,1,1,,,,1",
        "L,1,1,,,,1,extra",
        "M,1,1,,,,",
    )  # fmt: skip
    rows, found = catalogue(store, path)
    assert set(rows) == {"J", "M"}
    assert reasons(store, found) == {
        "offer_id|missing": 1,
        "price|below 0": 1,
        "data_bytes|below 0": 1,
        "data_bytes|not a whole number": 1,
        "price|not readable": 1,
        "valid_from|not readable": 1,
        "valid_to|not after valid_from": 2,
        "eligibility|not readable": 2,
        "|identical to an earlier record": 3,  # J twice, K once
        "offer_id|another row of the offer differs": 2,
        "|another number of fields": 1,
    }
    shown = {row["found"] for row in store.rows(found.reading.rejects)} - {None}
    assert shown == {
        "price: cheap", "valid_from: soon", "eligibility: Gold", "eligibility: min_dl_bytes=much",
    }  # fmt: skip


def ingested(
    tmp_path: Path, path: Path, kind: str, **more: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    workspace = Workspace.create(tmp_path / "ws")
    (found,) = ingestion.ingest(workspace, [path], Settings(), kind=kind, **more)
    return pq.read_table(found.batch.rows).to_pylist(), dict(found.batch.manifest)


def test_a_catalogue_of_names_alone_is_one(tmp_path: Path) -> None:
    rows, manifest = ingested(
        tmp_path, write(tmp_path, "F3000G100M", "F1200G50M", header="offer_id"), "offers"
    )
    assert [row["offer_id"] for row in rows] == ["F3000G100M", "F1200G50M"]
    assert {row["price"] for row in rows} == {None}
    assert (manifest["accepted"], manifest["without_subscriber_count"]) == (2, 0)


@pytest.mark.parametrize("kind", ["usage", "purchases"])
def test_one_column_is_no_table_of_anything_else(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match="no delimited table"):
        ingested(tmp_path, write(tmp_path, "S1", header="subscriber_id"), kind)


def test_an_empty_catalogue_is_refused(tmp_path: Path) -> None:
    for number, text in enumerate(("", "offer_id\n", f"{HEADER}\n", f"{HEADER}\n\n\n")):
        path = tmp_path / f"{number}.csv"
        path.write_text(text)
        with pytest.raises(InputError, match=r"empty|a header only"):
            ingested(tmp_path, path, "offers")
    pq.write_table(pa.table({"offer_id": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="no records"):
        ingested(tmp_path, tmp_path / "empty.parquet", "offers")
    with pytest.raises(InputError, match="offer_id missing \\(2\\)"):
        ingested(tmp_path, write(tmp_path, ",1,1,,,,", ",2,1,,,,"), "offers")
    assert Workspace.open(tmp_path / "ws").batches("offers") == []


def test_a_catalogue_without_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="lacks columns of offers: offer_id") as refused:
        ingested(tmp_path, write(tmp_path, "A,1", header="name,price"), "offers")
    assert 'table = "offers"' in str(refused.value)


def test_the_same_catalogue_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path, "A,1,1,,,,")
    workspace = Workspace.create(tmp_path / "ws")
    first, again = (ingestion.ingest(workspace, [path], Settings(), kind="offers")[0] for _ in range(2))
    assert (first.is_new, again.is_new, len(workspace.batches("offers"))) == (True, False, 1)


# Purchases

BOUGHT = "SubscriberID,OFFER_ID,purchased_at"


def history(store: Store, path: Path, **settings: Any) -> tuple[list[tuple[Any, ...]], Read]:
    file = files.recognise(path)
    choice = offer_columns.choose(file, "purchases")
    found = purchases.read(store, file, choice.mapping, load(**settings), KEY.encode())
    rows = store.rows(found.reading.rows)
    return sorted(
        (r["subscriber_id"], r["offer_id"], r["purchased_at"].astimezone(UTC)) for r in rows
    ), found  # fmt: skip


def test_purchases_are_kept_under_pseudonyms(store: Store, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "+33 6 64 96 22 39,F3000G100M,2026-03-01T10:00:00Z",
        "0033664962239,F3000G100M,2026-03-01 10:00",
        "33664962239.0,F3000G100M,2026-03-01T11:00:00+01:00",
        "33664962239,f3000g100m,2026-03-01T10:00:00Z",
        "S7,15.0,2026-03-02",
        ",A,2026-03-02",
        "1.3E+19,A,2026-03-02",
        "S1,,2026-03-02",
        "S1,A,",
        "S1,A,yesterday",
        "S1,A,1999-12-31",
        header=BOUGHT,
    )
    rows, found = history(store, path)
    at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    him, other = (pseudonym(name, KEY.encode()) for name in ("33664962239", "S7"))
    assert rows == sorted([
        (him, "F3000G100M", at), (him, "f3000g100m", at), (other, "15", datetime(2026, 3, 2, tzinfo=UTC)),
    ])  # fmt: skip
    assert reasons(store, found) == {
        "|identical to an earlier record": 2,
        "subscriber_id|missing": 1,
        "subscriber_id|lost digits to a spreadsheet": 1,
        "offer_id|missing": 1,
        "purchased_at|missing": 1,
        "purchased_at|not readable": 1,
        "purchased_at|before the year 2000": 1,
    }
    assert history(store, path, identifiers="clear")[0][0][0] == "33664962239"


def test_a_batch_of_purchases_tells_its_period(tmp_path: Path) -> None:
    path = write(tmp_path, "S1,A,2026-03-02", "S2,A,2026-03-01T06:00:00Z", header=BOUGHT)
    rows, manifest = ingested(tmp_path, path, "purchases")
    assert len(rows) == 2
    assert (manifest["first_at"], manifest["last_at"]) == (
        "2026-03-01T06:00:00+00:00", "2026-03-02T00:00:00+00:00",
    )  # fmt: skip


@pytest.mark.parametrize("lacking", ["SubscriberID", "OFFER_ID", "purchased_at"])
def test_purchases_want_all_three_columns(tmp_path: Path, lacking: str) -> None:
    path = write(tmp_path, "S1,A,2026-03-02", header=BOUGHT.replace(lacking, "other"))
    with pytest.raises(MappingError, match="lacks columns of purchases"):
        ingested(tmp_path, path, "purchases")
