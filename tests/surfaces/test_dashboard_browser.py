"""The dashboard in a browser: every page with and without script, by pointer and keyboard, for everybody."""

from __future__ import annotations

import csv
import io
import itertools
import re
import shutil
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from offers_quickly import recommend_all, train_offers
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright
from served import in_thread

from subsight import Insight, pipeline
from subsight.errors import StorageError
from subsight.lifecycle.audit import AuditLog
from subsight.simulate import OfferMarket, Operator, simulate, simulate_offers
from subsight.surfaces.api.app import create_app
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.dashboard import articles, content, filtering
from subsight.workspace import Workspace

pytestmark = pytest.mark.browser

# The overview has far more questions than these, on a page like theirs.
STUDIES = ("engagement", "satisfaction", "segments")
SEGMENT, MAKER = "Gold", "Arvexa"
KEY = "k" * 32
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of \d+")
Open = Callable[..., "Window"]


class Window:
    """A page in a browser of its own, with what it asked for and what went wrong in it."""

    def __init__(self, browser: Browser, origin: str, **options: Any) -> None:
        self.context = browser.new_context(base_url=origin, **{"reduced_motion": "reduce", **options})
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.origin = origin
        self.asked: list[str] = []
        self.troubles: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        # A page that says why it shows nothing has a status of its own, which a browser tells as well.
        if message.type in ("error", "warning") and not REFUSED.match(message.text):
            self.troubles.append(message.text)

    def go(self, path: str, status: int = 200) -> Page:
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == status, path
        return self.page

    def follow(self, link: Locator) -> int:
        """Clicks and waits for what it leads to; the status of that, by whichever way it was asked for."""
        address = self.origin + str(link.get_attribute("href"))
        with self.page.expect_response(lambda answer: answer.url == address.partition("#")[0]) as found:
            link.click()
        expect(self.page).to_have_url(address)
        return found.value.status

    def close(self) -> None:
        self.context.close()
        outside = [one for one in self.asked if not one.startswith((f"{self.origin}/", "data:"))]
        assert outside == []
        assert self.troubles == []


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A run of simulated subscribers with scores, segments and offers."""
    folder = tmp_path_factory.mktemp("walked")
    recorded = simulate(Operator(subscribers=800, sessions=5_000, days=4, seed=5), folder).sessions
    market = simulate_offers(OfferMarket(subscribers=800, offers=12), folder / "market")
    settings: dict[str, Any] = {"segment_source": "profiles", "minimum_handset_subscribers": 30, "starts": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSIGHT_KEY", KEY)
        insight = Insight.open(folder / "operator", as_of="2026-06-01", **settings)
        for file, kind in (
            (recorded, "xdr"),
            (market.usage, "usage"),
            (market.offers, "offers"),
            (market.purchases, "purchases"),
        ):
            insight.ingest(file, kind=kind)
        pipeline.run(insight.workspace, [], insight.settings, studies=STUDIES, draw=lambda _: "<svg/>")
        train_offers(insight)
        recommend_all(insight)
        yield insight.workspace


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine, a page is looked at when it is whole."""
    for name in ("PATIENCE_S", "FILTERED_PATIENCE_S"):
        monkeypatch.setattr(articles, name, 60.0)


@pytest.fixture(scope="module")
def origin(operator: Workspace) -> Iterator[str]:
    """Where a service that wants no keys answers."""
    with AuditLog(operator.path / "audit") as log:
        gate = create_app(operator, log)
        with gate.open(), in_thread(gate) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def browse(browser: Browser, origin: str) -> Iterator[Open]:
    """Opens windows; at the end none of them asked another host or complained."""
    opened: list[Window] = []

    def begin(**options: Any) -> Window:
        opened.append(Window(browser, options.pop("origin", origin), **options))
        return opened[-1]

    yield begin
    for window in opened:
        window.close()


def menu(page: Page) -> list[tuple[str, str]]:
    """Addresses and words of the menu, but not the API's own pages."""
    links = page.locator(".rail a:not([data-plain])").all()
    return [(str(link.get_attribute("href")), str(link.text_content())) for link in links]


def main_text(page: Page) -> str:
    return " ".join(str(page.locator("main").text_content()).split())


def filtered(page: Page) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(page.url).query)


def one_subscriber(operator: Workspace) -> str:
    """The page of a subscriber who has a segment and offers."""
    folder = operator.run() / "tables"
    segments = pq.read_table(folder / "segments.parquet", columns=["subscriber_id"])
    offered = pq.read_table(folder / "recommendations.parquet", columns=["subscriber_id"])
    both = set(segments["subscriber_id"].to_pylist()) & set(offered["subscriber_id"].to_pylist())
    return f"/people/{min(both)}"


def every_page(page: Page, operator: Workspace) -> list[str]:
    """An address of each page there is: the menu's, a table over two pages, a person, two refusals."""
    return [
        *(path for path, _ in menu(page)), "/studies/engagement/top_application_subscribers",
        f"/studies/segments/overview?segment={SEGMENT}", one_subscriber(operator),
        "/studies/segments?from=soon", "/nothing",
    ]  # fmt: skip


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_the_menu_leads_to_every_page(browse: Open, script: bool) -> None:
    window = browse(java_script_enabled=script)
    page = window.go("/")
    page.evaluate("() => { window.isKept = true }")
    led = menu(page)
    assert [words for _, words in led] == [
        "This run", "Engagement", "Satisfaction", "Segments", "Next-best offers",
        "Offers to subscribers", "Subscribers", "Models", "Runs and data quality", "Glossary",
    ]  # fmt: skip
    for path, words in led:
        assert window.follow(page.locator(f'.rail a[href="{path}"]')) == 200
        expect(page.locator("h1")).to_have_text(words)
        expect(page).to_have_title(f"{words} – Subsight")
        expect(page.locator('.rail [aria-current="page"]')).to_have_text(words)
    # The script fetches content only: what was loaded first is still there.
    assert page.evaluate("() => window.isKept === true") == script


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_filters_come_from_a_form_a_mark_and_a_row_and_are_shared_by_address(
    browse: Open, script: bool
) -> None:
    window = browse(java_script_enabled=script)
    page = window.go("/studies/segments")
    everybody = main_text(page)

    page.locator(".filters").get_by_label("Segment").select_option(SEGMENT)
    page.locator(".filters").get_by_role("button", name="Apply").click()
    expect(page.get_by_role("link", name=f"Remove the filter Segment: {SEGMENT}")).to_be_visible()
    # Without script a browser sends what was left open as well, which means nothing.
    assert [pair for pair in filtered(page) if pair[1]] == [("segment", SEGMENT)]
    by_form = main_text(page)
    assert by_form != everybody
    assert f"Filtered: segment {SEGMENT}" in by_form

    window.go("/studies/segments")
    mark = page.locator(f'[id="segments.overview"] figure svg a[href$="segment={SEGMENT}"]').first
    assert window.follow(mark) == 200
    expect(page.locator(".chip .kind")).to_have_count(1)
    assert main_text(page) == by_form

    window.go("/studies/segments/overview")
    cell = page.locator("tbody a").filter(has_text=SEGMENT)
    assert window.follow(cell) == 200
    assert filtered(page) == [("segment", SEGMENT)]
    study = page.locator(".crumbs a")
    assert window.follow(study) == 200
    expect(page.locator("h1")).to_have_text("Segments")
    assert main_text(page) == by_form  # the filter went along

    other = browse(java_script_enabled=not script).go(page.url)
    assert main_text(other) == by_form

    page.get_by_role("link", name="Remove the filter").click()
    expect(page.locator(".chip")).to_have_count(0)
    assert main_text(page) == everybody


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_page_fills_itself_with_what_was_not_there_in_time(
    browse: Open, script: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/studies/satisfaction?{'manufacturer' if script else 'segment'}={MAKER if script else SEGMENT}"
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 0.0)
    page = browse(java_script_enabled=script).go(path)
    waiting = page.locator(".waiting")
    assert waiting.count()  # of answers that nobody asked for before, none is there at once
    expect(waiting).to_have_count(0, timeout=60_000)
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 60.0)
    assert main_text(page) == main_text(browse(java_script_enabled=script).go(path))


def test_an_answer_that_cannot_be_found_says_why(browse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def fails(*_: Any) -> None:
        assert go_on.wait(30)
        raise StorageError("the disk is gone")

    monkeypatch.setattr(filtering, "show", fails)
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 0.0)
    page = browse().go("/studies/engagement?experience=0")
    expect(page.locator(".waiting").first).to_be_visible()
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 60.0)
    go_on.set()
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator(".state.refused").first).to_contain_text("finding this answer for the filters failed")


def test_a_page_that_cannot_be_filled_says_why(browse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    made, times, go_on = content.articles, itertools.count(), threading.Event()

    def fails(*asked: Any) -> Any:
        if next(times):
            raise StorageError("the disk is gone")
        return made(*asked)

    monkeypatch.setattr(filtering, "show", lambda *_: go_on.wait(30))
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 0.0)
    monkeypatch.setattr(content, "articles", fails)
    page = browse().go("/studies/engagement?experience=0")
    loaded: list[str] = []
    page.on("request", lambda asked: loaded.append(asked.url) if asked.is_navigation_request() else None)
    expect(page.locator("h1")).to_have_text("The service cannot do this now")
    assert loaded == []  # loaded again it would fail again
    go_on.set()


def test_a_page_holds_answers_of_one_run(
    browse: Open, operator: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(articles, "FILTERED_PATIENCE_S", 0.0)
    page = browse().go("/studies/engagement?experience=1")
    expect(page.locator(".waiting").first).to_be_visible()
    before = operator.run()
    after = before.with_name("29990101T000000000000Z-ffff")
    shutil.copytree(before, after)
    manifest = after / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before.name, after.name))
    current = operator.path / "current"
    try:
        current.unlink()
        current.symlink_to(after)
        expect(page.locator(".foot a")).to_have_text(after.name)
        expect(page.locator(".waiting")).to_have_count(0, timeout=60_000)
    finally:
        current.unlink()
        current.symlink_to(before)
        shutil.rmtree(after)


def test_back_and_forward_walk_through_views(browse: Open) -> None:
    window = browse()
    page = window.go("/studies/engagement")
    walked = [page.url]
    seen = [main_text(page)]
    for link in (
        page.locator('[id="engagement.clusters"] figure svg a').first,
        page.locator('[id="engagement.top_application_subscribers"] h2 a'),
        page.locator("thead a").nth(3),
    ):
        window.follow(link)
        walked.append(page.url)
        seen.append(main_text(page))
    assert len(set(walked)) == len(set(seen)) == 4
    for place in (2, 1, 0):
        page.go_back()
        expect(page).to_have_url(walked[place])
        expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
        assert main_text(page) == seen[place]
    for place in (1, 2, 3):
        page.go_forward()
        expect(page).to_have_url(walked[place])
        expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
        assert main_text(page) == seen[place]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_table_is_sorted_and_paged_and_leads_to_a_subscriber(
    browse: Open, operator: Workspace, script: bool
) -> None:
    window = browse(java_script_enabled=script)
    page = window.go("/studies/engagement/top_application_subscribers")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    head = page.locator("thead th").filter(has_text="Session count").locator("a")
    window.follow(head)
    expect(page.locator('th[aria-sort="ascending"]')).to_contain_text("Session count")
    window.follow(head)
    expect(page.locator('th[aria-sort="descending"]')).to_contain_text("Session count")
    place = page.locator("thead th").all_text_contents()
    column = next(i for i, words in enumerate(place) if "Session count" in words)

    def counts() -> list[int]:
        return [int(cell.replace(",", "")) for cell in page.locator(f"tbody tr > :nth-child({column + 1})")
                .all_text_contents()]  # fmt: skip

    first = counts()
    window.follow(page.locator(".pager").get_by_role("link", name="Next"))
    expect(rows).to_have_count(30)
    second = counts()
    assert [*first, *second] == sorted([*first, *second], reverse=True)

    link = page.locator('tbody a[href^="/people/"]').first
    pseudonym = str(link.get_attribute("href")).rpartition("/")[2]
    assert window.follow(link) == 200
    expect(page.locator("h1")).to_contain_text(pseudonym[:8])
    profiles = pq.read_table(operator.run() / "tables" / "segments.parquet").to_pylist()
    segment = next(row["segment_name"] for row in profiles if row["subscriber_id"] == pseudonym)
    expect(page.locator("#segment-title")).to_have_text(f"Segment: {segment}")


def test_a_subscriber_is_looked_up_by_pseudonym(browse: Open, operator: Workspace) -> None:
    window = browse()
    path = one_subscriber(operator)
    page = window.go("/find")
    page.get_by_label("Pseudonym, or clear number").fill(path.rpartition("/")[2])
    page.get_by_role("button", name="Look up").click()
    expect(page).to_have_url(window.origin + path)
    expect(page.get_by_role("heading", name="Offers", exact=True)).to_be_visible()


def downloaded(page: Page, kind: str) -> tuple[str, bytes]:
    with page.expect_download() as begun:
        page.locator(".downloads").get_by_role("link", name=kind).click()
    return begun.value.suggested_filename, Path(begun.value.path()).read_bytes()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_downloads_name_their_filter(browse: Open, operator: Workspace, script: bool) -> None:
    page = browse(java_script_enabled=script).go(f"/studies/engagement/clusters?manufacturer={MAKER}")
    said = f"Filtered by manufacturer {MAKER}"
    name, table = downloaded(page, "CSV")
    assert name == "clusters.csv"
    comments, _, lines = table.decode("utf-8-sig").partition("\r\nengagement_cluster,")
    assert f"# {said}" in comments
    rows = list(csv.DictReader(io.StringIO(f"engagement_cluster,{lines}")))
    makers = pq.read_table(operator.run() / "tables" / "profiles.parquet")["handset_manufacturer"].to_pylist()
    assert sum(int(row["subscriber_count"]) for row in rows) == makers.count(MAKER) > 0

    name, drawing = downloaded(page, "SVG")
    assert name == "clusters.svg"
    assert said in drawing.decode()
    name, picture = downloaded(page, "PNG")
    assert name == "clusters.png"
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = re.search(rb'<svg[^>]* width="([\d.]+)" height="([\d.]+)"', drawing).groups()  # type: ignore[union-attr]
    sides: tuple[int, ...] = struct.unpack(">II", picture[16:24])
    assert sides == pytest.approx((2 * float(width), 2 * float(height)), abs=2)


def tab_to(page: Page, what: str, most: int = 80) -> None:
    """Presses Tab until the focus is on what a selector names, and can be seen there."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("(what) => document.activeElement.matches(what)", what):
            drawn = page.evaluate(
                """() => { const mark = document.activeElement.querySelector("svg a > *");
                const of = getComputedStyle(document.activeElement);
                const marked = document.activeElement.closest("svg")
                  && getComputedStyle(document.activeElement.firstElementChild).strokeWidth;
                return [of.outlineStyle, marked] }"""
            )
            assert drawn[0] != "none" or drawn[1] == "2px", what
            return
    pytest.fail(f"{most} times Tab does not lead to {what}")


def test_the_keyboard_alone_is_enough(browse: Open) -> None:
    page = browse().go("/")
    tab_to(page, "a.skip", most=1)
    expect(page.locator("a.skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("() => !!document.activeElement.closest('main')")

    page.goto("/")
    tab_to(page, '.rail a[href="/studies/segments"]')
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Segments")
    # The focus arrives with the content: the next stop is in it.
    tab_to(page, "main summary", most=1)
    tab_to(page, "select[name=manufacturer]")
    page.keyboard.type(MAKER)
    tab_to(page, ".fields button")
    page.keyboard.press("Enter")
    expect(page.locator(".chip .kind")).to_have_count(1)
    assert filtered(page) == [("manufacturer", MAKER)]

    page.goto("/studies/engagement/clusters")
    tab_to(page, "figure svg a")
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    assert tip.text_content() == page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator(".chip .kind")).to_have_count(1)
    assert filtered(page)[0][0] == "engagement"
    tab_to(page, "thead a")
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort]")).to_have_count(1)
    # Enter once more would turn it round.
    assert page.evaluate("() => !!document.activeElement.closest('th[aria-sort]')")


def test_a_key_opens_pages_until_its_holder_signs_out(
    browse: Open, operator: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(operator.path, tmp_path / "operator", symlinks=True)
    shutil.rmtree(tmp_path / "operator" / "audit")
    workspace = Workspace.open(tmp_path / "operator")
    reader, program = (ApiKeys(workspace).create(role) for role in ("read", "predict"))
    with AuditLog(workspace.path / "audit") as log:
        gate = create_app(workspace, log)
        with gate.open(), in_thread(gate) as port:
            window = browse(origin=f"http://127.0.0.1:{port}")
            page = window.go("/runs?from=2026-03-03")
            expect(page.locator("h1")).to_have_text("Sign in")
            expect(page.locator(".rail")).to_have_count(0)
            for secret, seen in ((program, "Sign in"), (reader, "Runs and data quality")):
                page.get_by_label("API key").fill(secret)
                page.get_by_role("button", name="Sign in").click()
                expect(page.locator("h1")).to_have_text(seen)
                expect(page.get_by_role("alert")).to_have_count(1 if secret == program else 0)
            assert urlsplit(page.url).query == "from=2026-03-03"  # where they were going
            page.locator(".rail").get_by_role("link", name="Subscribers", exact=True).click()
            expect(page.get_by_label("Pseudonym", exact=True)).to_be_visible()  # clear numbers are an admin's
            page.locator(".rail + .sign-out, .rail .sign-out").get_by_role("button").click()
            expect(page.locator("h1")).to_have_text("Sign in")
            window.go("/")
            expect(page.locator("h1")).to_have_text("Sign in")


WIDTHS = (390, 1280, 1920)


def test_nothing_sticks_out_of_any_page(browse: Open, operator: Workspace) -> None:
    window = browse(viewport={"width": 390, "height": 844})
    for path in every_page(window.go("/"), operator):
        page = window.page
        page.goto(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("() => document.documentElement.scrollWidth") == width, path
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/studies/segments")
    form = page.locator(".filters form")
    expect(form).to_be_hidden()  # until it is asked for, so that the page begins with answers
    page.get_by_text("Filters", exact=True).click()
    expect(form).to_be_visible()
    page.goto("/")
    page.get_by_text("Menu", exact=True).click()
    page.locator(".drawer").get_by_role("link", name="Glossary").click()
    expect(page.locator("h1")).to_have_text("Glossary")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


SMALLEST = """() => Math.min(...[...document.querySelectorAll("figure svg text")].map((text) =>
  parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a))"""


def test_on_a_phone_charts_are_read_and_stand_by_what_they_show(browse: Open) -> None:
    window = browse(viewport={"width": 390, "height": 844})
    for study in (*STUDIES, "offers", "recommendations"):
        assert window.go(f"/studies/{study}").evaluate(SMALLEST) >= 11, study
    article = window.go("/studies/engagement").locator('[id="engagement.clusters"]')

    def top(what: str) -> float:
        box = article.locator(what).first.bounding_box()
        assert box is not None
        return box["y"]

    assert top(".reading > p:first-child") < top("figure") < top(".reading > p:nth-child(2)")
    window.page.set_viewport_size({"width": 1280, "height": 900})
    assert top(".reading > p:nth-child(2)") < top("figure") + 200  # beside it
    at = window.page.evaluate(SMALLEST)
    assert 13 < at < 16  # of one size with the words around it, not of whatever fills the page


def test_what_a_row_is_of_stays_while_its_numbers_are_scrolled(browse: Open) -> None:
    page = browse(viewport={"width": 390, "height": 844}).go("/studies/engagement/clusters")
    region = page.locator(".scroll.wide")
    first, last = (region.locator(f"tbody tr:first-child td:{place}-child") for place in ("first", "last"))
    expect(last).not_to_be_in_viewport()
    region.focus()
    before = first.bounding_box()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    expect(last).to_be_in_viewport()
    after = first.bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] == before["x"]


def violations(page: Page, rules: Sequence[str] | None = None) -> list[str]:
    """What axe-core finds, each with how bad it is, in how many places, and the first of them."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {one['impact']}, {len(one['nodes'])}, {one['nodes'][0]['html'][:200]}" for one in found
    ]


def test_nobody_is_shut_out_by_light_or_dark(browse: Open, operator: Workspace) -> None:
    window = browse(color_scheme="light", viewport={"width": 1280, "height": 900})
    for path in every_page(window.go("/"), operator):
        page = window.page
        page.emulate_media(color_scheme="light")
        page.goto(path)
        assert violations(page) == [], path
        page.emulate_media(color_scheme="dark")
        # What is there is the same; what it looks like is not.
        assert violations(page, ["color-contrast", "link-in-text-block"]) == [], path


def test_axe_would_find_something(browse: Open) -> None:
    page = browse().go("/glossary")
    page.evaluate("() => document.querySelector('h1').setAttribute('style-less', '')")
    page.evaluate("() => { document.querySelector('main').append(document.createElement('button')) }")
    assert [one.partition(":")[0] for one in violations(page)] == ["button-name"]
