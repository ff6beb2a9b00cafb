from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from subsight.store import Store, open_store

SPARK = "local-cluster[2,1,1024] spark.sql.shuffle.partitions=3 spark.default.parallelism=3"


@pytest.fixture(scope="session")
def spark_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One session for all: a cluster takes seconds to start."""
    import pyspark

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_SPARK_MASTER", SPARK)
        store = open_store("spark", memory="1GB", scratch=tmp_path_factory.mktemp("spark"))
    application = pyspark.SparkContext.getOrCreate().applicationId
    with store:
        yield store
    # The workers of such a cluster keep their logs inside the installed package.
    shutil.rmtree(Path(pyspark.__file__).parent / "work" / application, ignore_errors=True)


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store on each engine."""
    if request.param == "spark":
        yield request.getfixturevalue("spark_store")
    else:
        with open_store("duckdb", memory="1GB") as opened:
            yield opened
