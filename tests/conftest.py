"""What the tests share: the shared data where it is, and no skips where none are allowed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Many a test starts a process, and each would compile anew whatever it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Two processes share the suite; what one of them computes shall not take the other's core.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from subsight.store import Store, open_store  # noqa: E402 (the threads are counted at import)

SHARED = Path(os.environ.get("SUBSIGHT_SHARED", Path(__file__).parents[2] / "shared"))
NOTEBOOK = ("altair", "nbclient", "ipykernel")
NO_SKIP = bool(os.environ.get("SUBSIGHT_NO_SKIP"))


def _listening(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def _missing(marker: pytest.Mark) -> str | None:
    """Why a marked test cannot run on this machine, or None."""
    if marker.name == "spark":
        return missing_for_spark()
    if marker.name == "database":
        port = {"mysql": 3306, "postgresql": 5432}.get(marker.args[0] if marker.args else "", 0)
        if port and not _listening(port):
            return f"no {marker.args[0]} server answers on 127.0.0.1:{port}"
    if marker.name == "browser" and shutil.which("chromium") is None:
        return "there is no Chromium"
    if marker.name == "notebook" and (gone := [n for n in NOTEBOOK if importlib.util.find_spec(n) is None]):
        return f"{', '.join(gone)} not installed: uv sync --extra notebook --group notebook"
    if marker.name == "namespaces":
        return missing_for_namespaces()
    if marker.name == "tellco" and not (SHARED / "data" / "tellco").is_dir():
        return "the shared data are not here"
    return None


def missing_for_namespaces() -> str | None:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "setpriv", "ip"))):
        return "roots of their own need root, and unshare, nsenter, setpriv and ip"
    done = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False)
    return f"there are no namespaces: {done.stderr.decode().strip()}" if done.returncode else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes run the whole suite; a part of it runs in this one, where a debugger can look."""
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests go to one process, for what its fixtures hold; those of Spark go to one together."""
    from xdist.scheduler.loadfile import LoadFileScheduling

    class ByFileAndCluster(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            is_spark = "spark" in nodeid
            return "spark" if is_spark else super()._split_scope(nodeid)

    return ByFileAndCluster(config, log)


def installed(module: str, extra: str) -> Any:
    """A module of an extra; what needs it is skipped without, where anything may be skipped."""
    return importlib.import_module(module) if NO_SKIP else pytest.importorskip(module, reason=f"no {extra}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Whole runs stand in the uppermost folder and take longest: begun first, they end with the others.
    items.sort(key=lambda item: len(item.path.parents))
    for item in items:
        for marker in item.iter_markers():
            reason = _missing(marker)
            # The shared data may be absent anywhere; everything else CI installs.
            if reason and not (NO_SKIP and marker.name != "tellco"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def tellco_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared TellCo extract, unpacked."""
    import pyarrow as pa

    source = SHARED / "data" / "tellco" / "tellco_xdr.csv.zst"
    if not source.exists():
        pytest.skip("the shared data are not here")
    target = tmp_path_factory.mktemp("tellco") / "telcom_data.csv"
    with pa.CompressedInputStream(pa.OSFile(str(source)), "zstd") as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return target


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    """Copies a module's run (its fixture `base`) with another manifest, of which nothing is kept yet."""

    def copy(change: Callable[[dict[str, Any]], Any]) -> Path:
        shutil.copytree(base, tmp_path / "run", ignore=shutil.ignore_patterns("choices.json"))
        path = tmp_path / "run" / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return tmp_path / "run"

    return copy


@pytest.fixture
def churn_csv() -> Path:
    """The shared table of internet subscribers."""
    source = SHARED / "data" / "subscribers" / "internet_service_churn.csv"
    if not source.exists():
        pytest.skip("the shared data are not here")
    return source


@pytest.fixture
def dpi_parquet() -> Path:
    """The shared usage of hosts by deep packet inspection."""
    source = SHARED / "data" / "dpi" / "dpi_usage.parquet"
    if not source.exists():
        pytest.skip("the shared data are not here")
    return source


@pytest.fixture
def labelled_flows() -> Path:
    """The shared flows with labels of inspection."""
    source = SHARED / "data" / "flows" / "labelled_flows.csv"
    if not source.exists():
        pytest.skip("the shared data are not here")
    return source


@pytest.fixture(scope="session")
def shared_captures() -> Path:
    """The shared folder of packet captures."""
    source = SHARED / "data" / "flows" / "pcap"
    if not source.is_dir():
        pytest.skip("the shared data are not here")
    return source


@pytest.fixture
def netflow_data() -> Path:
    """The shared packets of real exporters."""
    source = SHARED / "data" / "flows" / "netflow"
    if not source.is_dir():
        pytest.skip("the shared data are not here")
    return source


@pytest.fixture
def dpi_usage() -> Path:
    """The shared usage of real hosts."""
    source = SHARED / "data" / "dpi" / "dpi_usage.parquet"
    if not source.is_file():
        pytest.skip("the shared data are not here")
    return source


# A cluster of minutes on a few rows: its programs run too seldom to be worth compiling twice.
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SPARK = (
    "local-cluster[2,1,1024] spark.sql.shuffle.partitions=3 spark.default.parallelism=3"
    f" 'spark.driver.extraJavaOptions={JAVA}' 'spark.executor.extraJavaOptions={JAVA}'"
)


def missing_for_spark() -> str | None:
    if importlib.util.find_spec("pyspark") is None:
        return "the extra spark is not installed"
    return None if shutil.which("java") else "there is no Java"


@pytest.fixture(scope="session")
def spark_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One session for all: a cluster takes seconds to start."""
    reason = missing_for_spark()
    if reason:
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_SPARK_MASTER", SPARK)
        # Where the workers would otherwise write: into the installed package.
        patch.setenv("SPARK_WORKER_DIR", str(tmp_path_factory.mktemp("workers")))
        store = open_store("spark", memory="1GB", scratch=tmp_path_factory.mktemp("spark"))
    with store:
        yield store


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store on each engine."""
    if request.param == "spark":
        yield request.getfixturevalue("spark_store")
    else:
        with open_store("duckdb", memory="1GB") as opened:
            yield opened


@pytest.fixture(scope="module")
def duck() -> Iterator[Store]:
    """One store for a module's tests, which all read files of their own."""
    with open_store("duckdb", memory="1GB") as opened:
        yield opened
