"""The dashboard through a real server: pages, filters, escaping, headers, downloads; a run made by hand."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_run import EVIL, fake_run
from segmented import PSEUDONYMS, RECORD, TABLE
from segmented import ROWS as SEGMENTED
from served import in_thread

from subsight.answers import Answer
from subsight.errors import InputError, StorageError
from subsight.lifecycle.audit import AuditLog
from subsight.results import Results
from subsight.surfaces.api.app import create_app
from subsight.surfaces.dashboard import articles, facts, filtering, state
from subsight.surfaces.dashboard.addresses import PAGES, PARAMETERS, View
from subsight.surfaces.dashboard.filtering import Shown
from subsight.surfaces.dashboard.state import Current
from subsight.workspace import Workspace

HTML = {"Accept": "text/html"}


@dataclass(frozen=True)
class Choice:
    value: str
    label: str
    subscriber_count: int | None


class Filters:
    def __init__(self, **chosen: Any) -> None:
        self.chosen = chosen

    def said(self) -> str:
        return "; ".join(f"{name} {value}" for name, value in self.chosen.items() if value)


class Pipeline:
    """What answers filtered questions, made by hand: only handsets and manufacturers, and not "Nobody"."""

    Filters = Filters
    asked: ClassVar[list[list[str]]] = []

    @staticmethod
    def filterable(question: str) -> frozenset[str]:
        takes = {"handset", "manufacturer", "segment", "application", "period"}
        return frozenset(takes) if question in ("overview.top_handsets", "engagement.days") else frozenset()

    @staticmethod
    def why_not(question: str, kinds: list[str]) -> str:
        if Pipeline.filterable(question) >= {*kinds}:
            return "nobody knows both" if {"handset", "period"} <= {*kinds} else ""
        return f"{question} is told without {' and '.join(kinds)}"

    @staticmethod
    def choices(run: Path) -> Mapping[str, list[Choice]]:
        names = ("Apple iPhone 6S (A1688)", EVIL, "Nobody")
        return {
            "handset": [Choice(name, name, 9000) for name in names],
            "application": [Choice("video", "Video", None)],
            "segment": [],
        }

    @staticmethod
    def answers(
        run: Path, questions: list[str], filters: Any, told: Callable[[str, Answer | InputError], None]
    ) -> None:
        Pipeline.asked.append(questions)
        for question in questions:
            told(question, Pipeline.answer(run, question, filters))

    @staticmethod
    def answer(run: Path, question: str, filters: Any) -> Answer | InputError:
        if filters.chosen["handsets"] == ("Nobody",):
            return InputError("nobody is left", found="0 subscribers", do="take a filter away")
        rows = [{"handset": "Apple iPhone 6S (A1688)", "session_count": 77, "subscriber_count": 50}]
        published = next(a for a in json.loads((run / "answers" / "overview.json").read_text()))
        return replace(Answer.from_json(published), rows=rows, reading=("77 sessions are left.",))


class Service:
    def __init__(self, port: int, log: AuditLog, workspace: Workspace) -> None:
        self.port, self.log, self.workspace = port, log, workspace

    def raw(
        self, path: str, *, method: str = "GET", body: str | None = None, headers: Mapping[str, str] = HTML
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def page(self, path: str, status: int = 200, headers: Mapping[str, str] = HTML) -> str:
        found, body, told = self.raw(path, headers=headers)
        assert (found, told.get_content_type()) == (status, "text/html"), body[:500]
        return body.decode()

    def send(
        self, path: str, body: str, origin: str | None = "own", headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, http.client.HTTPMessage]:
        origin = f"http://127.0.0.1:{self.port}" if origin == "own" else origin
        also = {"Origin": origin} if origin else {}
        form = {**HTML, "Content-Type": "application/x-www-form-urlencoded", **also, **(headers or {})}
        status, content, told = self.raw(path, method="POST", body=body, headers=form)
        return status, content.decode(), told

    def events(self, kind: str) -> list[dict[str, Any]]:
        self.log.durable().result(10)
        lines = "".join(path.read_text() for path in sorted(self.log.folder.glob("audit-*.jsonl")))
        return [record for line in lines.splitlines() if (record := json.loads(line))["kind"] == kind]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine, a page is looked at when it is whole."""
    for name in ("PATIENCE_S", "FILTERED_PATIENCE_S"):
        monkeypatch.setattr(articles, name, 60.0)


def publish(workspace: Workspace) -> Path:
    """A run of hand-made answers, with a segmentation of three subscribers."""
    folder = fake_run(workspace.path / "runs" / "20260101T120000Z-abc123")
    (folder / "models" / "segments.json").write_text(json.dumps(RECORD))
    rows: list[dict[str, Any]] = [dict(told) for told in TABLE]
    for row, values in zip(rows, SEGMENTED, strict=True):
        row.update(values)  # type: ignore[call-overload]
    pq.write_table(pa.Table.from_pylist(rows), folder / "tables" / "segments.parquet")
    offers = [
        {
            "subscriber_id": PSEUDONYMS[0], "rank": 1, "offer_id": "GIGA", "score": 0.25,
            "reason": f"they use {EVIL}", "is_fallback": False, "probability": 1.0,
        }
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(offers), folder / "tables" / "recommendations.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tables"] = {
        name: {"rows": 3, "file": f"{name}.parquet"} for name in ("segments", "recommendations")
    }
    manifest["timings"] = {"publish": 1.5, "report": 0.5}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (workspace.path / "current").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", "k" * 32)
        patch.setattr(filtering, "_pipeline", Pipeline)
        workspace = Workspace.create(tmp_path_factory.mktemp("dashboard") / "operator")
        publish(workspace)
        with AuditLog(workspace.path / "audit") as log:
            gate = create_app(workspace, log)
            with gate.open(), in_thread(gate) as port:
                yield Service(port, log, workspace)


def test_urls_survive_upgrades() -> None:
    """Bookmarks hold these: an address may be added, never changed or given another meaning."""
    assert PAGES == (
        "/", "/studies/{study}", "/studies/{study}/{question}", "/find", "/people/{pseudonym}",
        "/models", "/runs", "/glossary", "/login", "/logout",
    )  # fmt: skip
    assert PARAMETERS == {
        "segment": "segment", "manufacturer": "manufacturer", "handset": "handset",
        "engagement": "engagement_cluster", "experience": "experience_cluster",
        "application": "application", "cell": "cell", "category": "category", "site": "site",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", ["150,001", "Records read", "This is the first run", "Decision memo"]),
        ("/studies/overview", ["Which handsets are used most?", "Apple iPhone 6S (A1688) leads", "<svg"]),
        ("/studies/experience", ["Carried forward from run 20251231T120000Z-def456", "Stale"]),
        ("/studies/overview/top_handsets", ["Rows 1 to 4 of 4", "20,000"]),
        ("/find", ["clear number", "recorded in the audit log"]),
        (f"/people/{PSEUDONYMS[0]}", ["Platinum", "GIGA", "25.0 %"]),
        ("/models", ["No model answers yet", "Groups subscribers by how much they use the network"]),
        ("/runs", ["150,001 records were read", "No start", "1.5 s", "75.0 %", "periods cannot be compared"]),
        ("/glossary", ["Metrics of profiles", "session_count", "Columns of sessions"]),
    ],
)  # fmt: skip
def test_each_page_says_what_it_is_for(service: Service, path: str, said: list[str]) -> None:
    page = service.page(path)
    for text in said:
        assert text.lower() in page.lower(), text
    assert "<main" in page
    assert page.count("<h1") == 1
    assert 'lang="en"' in page
    if path in ("/", "/find", "/models", "/runs", "/glossary"):
        assert page.count(f'<a href="{path}" aria-current="page"') == 2  # wide and narrow


def test_nothing_in_a_page_breaks_its_policy_or_leaves_the_host(service: Service) -> None:
    for path in (
        "/",
        "/studies/overview",
        "/studies/engagement",
        f"/people/{PSEUDONYMS[0]}",
        "/runs",
        "/nothing",
    ):
        _, body, headers = service.raw(path)
        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert headers.get_all("Content-Security-Policy") == [headers["Content-Security-Policy"]]
        assert headers["Cache-Control"] == "no-store"
        page = body.decode()
        assert not re.search(r'\sstyle="|<style|\son\w+="|javascript:', page), path
        assert all(one.startswith("/static/") for one in re.findall(r'<script src="([^"]+)"', page))
        assert set(re.findall(r'https?://[^\s"<]+', page)) <= {"http://www.w3.org/2000/svg"}


def test_names_from_the_data_are_text(service: Service) -> None:
    for path in ("/studies/overview", "/studies/overview/top_handsets", f"/people/{PSEUDONYMS[0]}"):
        page = service.page(path)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
    page = service.page("/studies/overview?handset=%3Cscript%3Ealert(1)%3C/script%3E&from=2019-04-24")
    assert "<script>alert" not in page


def test_static_files_are_kept_and_named_by_their_content(service: Service) -> None:
    page = service.page("/")
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        status, body, headers = service.raw(address)
        assert status == 200
        assert body
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert service.raw("/static/dashboard-000000000000.css")[0] == 404
    assert service.raw("/static/..%2f..%2fpages.py")[0] == 404


def test_inputs_are_counted_whatever_they_are_of() -> None:
    inputs: list[dict[str, Any]] = [
        {"records": 40, "accepted": 30, "rejected": 10},
        {"records": 2, "accepted": 2},
        {"records": None},
    ]
    assert facts.counted(inputs) == (42, 32, 10)


def hrefs(page: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'href="([^"]*)"', page)]


def test_marks_and_cells_lead_to_the_page_filtered_by_them(service: Service) -> None:
    page = service.page("/studies/overview")
    figure = page.split('id="overview.top_handsets"')[1].split("</figure>")[0]
    marks = re.findall(r'<a href="([^"]*)" aria-label="([^"]*)"', figure)
    assert len(marks) == 2  # of four bars, the two whose handset can be chosen
    assert unescape(marks[0][0]) == "/studies/overview?handset=Apple+iPhone+6S+%28A1688%29"
    assert marks[0][1] == "Apple iPhone 6S (A1688): session count 20,000"
    assert "vega.github.io" not in page
    assert 'role="group"' in figure
    table = page.split('id="overview.top_handsets"')[1].split("<table>")[1].split("</table>")[0]
    assert "/studies/overview?handset=Apple+iPhone+6S+%28A1688%29" in hrefs(table)
    days = service.page("/studies/engagement").split('id="engagement.days"')[1].split("</figure>")[0]
    assert "/studies/engagement?from=2019-04-28&to=2019-04-28" in hrefs(days)
    people = service.page("/studies/engagement/top_subscribers")
    assert "/people/00000003" + PSEUDONYM_END in hrefs(people)


PSEUDONYM_END = ("0123456789abcdef" * 2)[8:]


def test_a_filter_holds_in_every_link_and_says_what_it_did(service: Service) -> None:
    query = "handset=Apple+iPhone+6S+%28A1688%29"
    page = service.page(f"/studies/overview?{query}")
    assert "77 sessions are left" in page
    assert "Filtered: handsets" in page
    deciles = page.split('id="overview.deciles"')[1].split("</article>")[0]
    told = "this question cannot be filtered by handset. It is shown for everybody: overview.deciles is told"
    assert f"{told} without handset." in deciles
    both = service.page(f"/studies/overview/top_handsets?{query}&from=2019-04-28")
    assert (
        "cannot be filtered by handset and period at once. It is shown for everybody: nobody knows both."
        in both
    )
    assert "9.00 TB" in deciles
    links = hrefs(page)
    assert f"/studies/engagement?{query}" in links
    assert f"/studies/overview/top_handsets?{query}" in links
    assert f"/studies/overview/top_handsets.csv?{query}" in links
    assert "Remove the filter Handset: Apple iPhone 6S (A1688)" in page
    assert "/studies/overview" in links  # without it
    assert "not guaranteed" in page
    own = service.page(f"/studies/overview/top_handsets?{query}&sort=session_count&desc=1")
    assert '<input type="hidden" name="handset" value="Apple iPhone 6S (A1688)">' in own
    assert f"/studies/overview/top_handsets?{query}&sort=session_count" in hrefs(own)


def test_a_view_is_asked_for_once(service: Service) -> None:
    query = "handset=Apple+iPhone+6S+%28A1688%29&manufacturer=Once"
    before = len(Pipeline.asked)
    first = service.page(f"/studies/overview?{query}")
    assert Pipeline.asked[before:] == [["overview.top_handsets"]]  # of all its questions, that one can be
    assert service.page(f"/studies/overview?{query}") == first
    service.page(f"/studies/overview/top_handsets?{query}")
    assert len(Pipeline.asked) == before + 1


def test_answers_that_are_not_there_in_time_come_later(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, answers = threading.Event(), Pipeline.answers

    def late(*asked: Any) -> None:
        assert go_on.wait(30)
        answers(*asked)

    monkeypatch.setattr(Pipeline, "answers", staticmethod(late))
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 0.05)
    path = "/studies/overview?handset=Apple+iPhone+6S+%28A1688%29&manufacturer=Late"
    before = len(Pipeline.asked)
    page = service.page(path)
    assert page.count('class="answer waiting"') == 1  # the others cannot be asked with a filter
    assert "77 sessions are left." not in page
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page
    # Whoever does not want to wait for the page can open the answer alone.
    assert re.search(r'waiting.*\n.*href="/studies/overview/top_handsets\?[^"]*manufacturer=Late', page)
    assert service.page(path) == page
    go_on.set()
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 30)
    page = service.page(path)
    assert "77 sessions are left." in page
    assert "waiting" not in page
    assert "refresh" not in page
    assert len(Pipeline.asked) == before + 1


def test_a_page_does_not_wait_for_a_chart_that_is_not_drawn(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from subsight.surfaces.report import Renderer

    go_on, svg = threading.Event(), Renderer.svg

    def late(renderer: Renderer, spec: str) -> str:
        assert go_on.wait(30)
        return svg(renderer, spec)

    monkeypatch.setattr(Renderer, "svg", late)
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 0.2)
    path = "/studies/overview/top_handsets?handset=Apple+iPhone+6S+%28A1688%29&manufacturer=Drawn"
    page = service.page(path)
    assert "77 sessions are left." in page
    assert "The chart is being drawn." in page
    assert "refresh" in page
    assert f"{path.replace('?', '.svg?')}".partition("?")[0] in "".join(hrefs(page))  # as every chart's page
    go_on.set()
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 30)
    page = service.page(path)
    assert "<svg" in page
    assert "being drawn" not in page
    assert "refresh" not in page


def test_an_answer_that_failed_is_asked_for_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/studies/overview/top_handsets?handset=Apple+iPhone+6S+%28A1688%29&manufacturer=Again"
    with monkeypatch.context() as patch:

        def fails(*_: Any) -> None:
            raise StorageError("the disk is gone")

        patch.setattr(Pipeline, "answers", staticmethod(fails))
        assert "77 sessions" not in service.page(path, 503)
        study = service.page(path.replace("/top_handsets", ""))
        assert "Not filtered: finding this answer for the filters failed. It is shown for everybody." in study
        assert "refresh" not in study
    assert "77 sessions are left." in service.page(path)


def test_a_service_that_ends_keeps_nobody_waiting(service: Service) -> None:
    go_on, pool = threading.Event(), ThreadPoolExecutor(1)
    run = Current(Results(service.workspace.run()), pool)
    answer, view = run.answers["overview.top_handsets"], View({"manufacturer": ("Ends",)})
    pool.submit(go_on.wait, 30)
    asked = run.ask([answer], view)[answer.id]
    # What the filters cannot change waits for nobody.
    other = next(one for one in run.answers.values() if "manufacturer" not in Pipeline.filterable(one.id))
    shown = run.ask([other], view)[other.id].result(0)
    assert (shown.answer, shown.ignored) == (other, ("manufacturer",))
    pool.shutdown(wait=False, cancel_futures=True)
    go_on.set()
    with pytest.raises(CancelledError):
        asked.result(10)
    with pytest.raises(RuntimeError, match="shutdown"):
        run.ask([answer], view)[answer.id].result(10)


def test_what_is_waited_for_is_not_forgotten(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_MOST", 3)
    go_on, pool = threading.Event(), ThreadPoolExecutor(1)
    run = Current(Results(service.workspace.run()), pool)
    answer = run.answers["overview.top_handsets"]

    def ask(maker: str) -> Future[Shown]:
        return run.ask([answer], View({"manufacturer": (maker,)}))[answer.id]

    pool.submit(go_on.wait, 30)
    asked = [ask(str(maker)) for maker in range(5)]
    assert [ask(str(maker)) for maker in range(5)] == asked
    go_on.set()
    pool.shutdown()
    assert all(one.done() for one in asked)
    with suppress(RuntimeError):
        ask("another")  # what was found goes, the longest kept first
    assert len(run._shown) <= 3


def test_a_refused_filter_is_explained(service: Service) -> None:
    page = service.page("/studies/overview?handset=Nobody")
    assert "Not filtered: nobody is left. It is shown for everybody." in page
    assert "take a filter away" in page
    alone = service.page("/studies/overview/top_handsets?handset=Nobody", 422)
    assert "Nobody is left" in alone
    assert "0 subscribers" in alone
    long, many = f"cell={'x' * 201}", "&".join(f"cell={i}" for i in range(51))
    dates = ("from=2019-13-01", "from=yesterday", "from=2019-04-02&to=2019-04-01")
    for query in (*dates, "engagement=x", "page=0", "page=x", long, many):
        assert "cannot be used" in service.page(f"/studies/overview?{query}", 422)
    assert service.page("/studies/overview?unknown=1&segment=")


def cells(page: str, column: int) -> list[str]:
    rows = page.split("<tbody>")[1].split("</tbody>")[0].split("<tr")[1:]
    return [re.sub("<[^>]+>", "", row.split("<td")[column].partition(">")[2]).strip() for row in rows]


def test_tables_are_sorted_and_paged_by_the_address(service: Service) -> None:
    path = "/studies/experience/cells"
    page = service.page(f"{path}?sort=subscriber_count&desc=1")
    assert "Rows 1 to 50 of 60" in page
    assert cells(page, 4)[:3] == ["62", "61", "60"]
    assert 'aria-sort="descending"' in page
    last = service.page(f"{path}?sort=subscriber_count&desc=1&page=2")
    assert "Rows 51 to 60 of 60" in last
    # Those that are not shown stand last in either order.
    assert cells(last, 4)[-1] == "suppressed"
    rising = service.page(f"{path}?sort=subscriber_count&page=2")
    assert cells(rising, 4)[-1] == "suppressed"
    assert f"{path}?sort=subscriber_count&desc=1" in hrefs(service.page(f"{path}?sort=subscriber_count"))
    assert "has no page 3" in service.page(f"{path}?page=3", 404)
    assert "has no column" in service.page(f"{path}?sort=nothing", 404)


def test_downloads_say_their_filters(service: Service) -> None:
    path, query = "/studies/overview/top_handsets", "?handset=Apple+iPhone+6S+%28A1688%29"
    status, body, headers = service.raw(f"{path}.csv{query}")
    assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert headers["Content-Disposition"] == 'attachment; filename="top_handsets.csv"'
    text = body.decode("utf-8-sig")
    told = [line for line in text.splitlines() if line.startswith("# ")]
    assert told[0] == "# Which handsets are used most?"
    assert told[1] == "# Filtered by handsets ('Apple iPhone 6S (A1688)',)"
    assert told[2] == "# overview.top_handsets, run 20260101T120000Z-abc123"
    rows = list(csv.DictReader(io.StringIO(text.split("\r\n", 3)[3])))
    assert rows == [{"handset": "Apple iPhone 6S (A1688)", "session_count": "77", "subscriber_count": "50"}]
    status, body, _ = service.raw(f"{path}.svg{query}")
    svg = body.decode()
    assert status == 200
    assert "Filtered by handsets" in svg
    assert "Which handsets are used most?" in svg
    assert "var(--" not in svg
    assert "#01f0" not in svg
    status, body, _ = service.raw(f"{path}.png")
    assert (status, body[:8]) == (200, b"\x89PNG\r\n\x1a\n")
    assert b"Not filtered" in service.raw("/studies/overview/deciles.svg")[1]
    assert service.raw("/studies/overview/dispersion.svg")[0] == 404
    assert service.raw("/studies/overview/dispersion.xml")[0] == 404
    assert service.raw("/studies/overview/nothing.csv")[0] == 404
    assert service.raw(f"{path}.csv?handset=Nobody")[0] == 422


def test_a_cell_of_a_csv_is_no_formula(service: Service) -> None:
    from subsight.surfaces.dashboard.downloads import _cell, _csv

    assert [_cell(v) for v in ("=1+1", "-2", -2, "@x", None, True)] == ["'=1+1", "'-2", -2, "'@x", "", "true"]
    text = service.raw("/studies/experience/handsets.csv")[1].decode("utf-8-sig")
    # The group of three is suppressed as everywhere.
    assert "Handset 0,," in text
    run = Current(Results(service.workspace.run()), ThreadPoolExecutor(1))
    told = _csv(run, Shown(run.answers["overview.top_handsets"], 'handset A,=1+1, @x;-2 or "B", C=D'))
    assert told.decode("utf-8-sig").splitlines()[1] == "# Filtered by handset A,'=1+1, '@x;'-2 or 'B', C=D"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nothing", 404), ("/studies/nothing", 404), ("/studies/overview/nothing", 404), ("/people/x", 404),
     (f"/people/{'f' * 32}", 404), ("/studies/overview/", 404)],
)  # fmt: skip
def test_what_is_not_there_is_said_on_a_page(service: Service, path: str, status: int) -> None:
    page = service.page(path, status)
    assert 'href="/"' in page
    assert "What to do" in page


def test_the_services_own_addresses_answer_as_before(service: Service) -> None:
    for path in ("/subscribers/33664962239", "/nothing", "/monitoring"):
        status, body, headers = service.raw(path, headers={})
        assert status == 404
        assert headers.get_content_type() == "application/json"
        assert set(json.loads(body)["error"]) == {"what", "found", "expected", "do", "field", "row"}
    # Also where a browser asks.
    assert service.raw("/subscribers/33664962239")[2].get_content_type() == "application/json"
    assert service.raw("/studies/overview", method="POST")[0] == 405


def test_before_the_first_run_a_page_says_what_to_do(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    with AuditLog(workspace.path / "audit") as log:
        gate = create_app(workspace, log)
        with gate.open(), in_thread(gate) as port:
            empty = Service(port, log, workspace)
            for path in ("/", "/runs", "/models"):
                assert "subsight run INPUT --workspace operator" in empty.page(path)
            assert "There is no run yet" in empty.page("/studies/overview", 404)
            assert "Metrics of profiles" in empty.page("/glossary")


@pytest.mark.parametrize(
    ("file", "content"),
    [("answers/overview.json", "{"), ("manifest.json", "{}"), ("manifest.json", "{")],
    ids=["answers", "empty manifest", "broken manifest"],
)
def test_of_a_damaged_run_a_page_says_that_there_is_none(tmp_path: Path, file: str, content: str) -> None:
    workspace = Workspace.create(tmp_path / "operator")
    (publish(workspace) / file).write_text(content)
    with AuditLog(workspace.path / "audit") as log:
        gate = create_app(workspace, log)
        with gate.open(), in_thread(gate) as port:
            damaged = Service(port, log, workspace)
            for path in ("/", "/studies/overview"):
                status, body, told = damaged.raw(path, headers=HTML)
                assert (status in (500, 503), told.get_content_type()) == (True, "text/html")
                assert "<h1>The service " in body.decode()


def test_a_chart_is_drawn_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from subsight.surfaces.report import Renderer

    first = service.page("/studies/engagement")
    monkeypatch.setattr(Renderer, "svg", lambda *_: pytest.fail("drawn again"))
    assert service.page("/studies/engagement") == first
