"""What only Spark has: a cluster, its settings, and plans that people read."""

from __future__ import annotations

from pathlib import Path

import narwhals as nw
import pyarrow as pa
import pytest

from subsight.errors import ConfigurationError
from subsight.store import Instant, Pseudonym, Store, open_store

pytestmark = pytest.mark.spark


def test_no_plan_shows_the_key(spark_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    key = b"secret-secret-secret-secret-1234"
    frame = spark_store.from_arrow(pa.table({"imsi": ["208011234567890"]}))
    spark_store.derive(frame, {"id": Pseudonym("imsi", key)}).to_native().explain("extended")
    plan = capsys.readouterr().out
    assert "keyed(imsi" in plan
    assert not any(text in plan for text in (key.decode(), key.hex(), key.hex().upper(), "secret"))


def test_session_settings(spark_store: Store) -> None:
    session = spark_store.from_arrow(pa.table({"i": [1]})).to_native().sparkSession
    conf = session.sparkContext.getConf()
    assert conf.get("spark.master") == "local-cluster[2,1,1024]"
    assert conf.get("spark.driver.maxResultSize") == "64m"
    assert session.conf.get("spark.sql.shuffle.partitions") == "3"
    assert session.conf.get("spark.sql.session.timeZone") == "UTC"
    assert session.conf.get("spark.sql.ansi.enabled") == "true"


def test_more_than_64_mb_never_reach_the_driver(spark_store: Store) -> None:
    frame = spark_store.from_arrow(pa.table({"i": range(10_000)}))
    big = frame.join(frame.select(j=nw.col("i")).head(1_000), how="cross")
    with pytest.raises(Exception, match="maxResultSize"):
        spark_store.arrow(big)


def test_a_second_store_shares_the_session_and_leaves_it_running(spark_store: Store, tmp_path: Path) -> None:
    with open_store("spark", scratch=tmp_path) as second:
        assert second.rows(second.from_arrow(pa.table({"i": [1]}))) == [{"i": 1}]
    assert list(tmp_path.iterdir()) == []
    assert spark_store.rows(spark_store.from_arrow(pa.table({"i": [2]}))) == [{"i": 2}]


def test_settings_that_are_malformed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBSIGHT_SPARK_MASTER", "local[1] shuffle=3")
    with pytest.raises(ConfigurationError, match="found: shuffle=3"):
        open_store("spark", scratch=tmp_path)
    monkeypatch.delenv("SUBSIGHT_SPARK_MASTER")
    with pytest.raises(ConfigurationError, match="found: much"):
        open_store("spark", memory="much", scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_time_pattern_that_spark_cannot_read(spark_store: Store) -> None:
    frame = spark_store.from_arrow(pa.table({"c": ["2019-095"]}))
    with pytest.raises(ConfigurationError, match="found: %j in %Y-%j"):
        spark_store.derive(frame, {"at": Instant("c", "%Y-%j")})
