"""Who sees the dashboard, and who may look whom up: keys, sessions, roles, and what is recorded."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from segmented import PSEUDONYMS
from served import in_thread
from test_dashboard import HTML, Pipeline, Service, publish

from subsight.lifecycle.audit import AuditLog
from subsight.surfaces.api.app import create_app
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.api.sessions import LASTS_S, Sessions
from subsight.surfaces.dashboard import filtering
from subsight.surfaces.dashboard.login import cookie, target
from subsight.workspace import Workspace

KEY = "k" * 32
CLEAR = "+33 6 64 96 22 39"
PSEUDONYM = hmac.new(KEY.encode(), b"33664962239", hashlib.sha256).hexdigest()[:32]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("SUBSIGHT_KEY", KEY)
    monkeypatch.setattr(filtering, "_pipeline", Pipeline)
    workspace = Workspace.create(tmp_path / "operator")
    folder = publish(workspace)
    table = folder / "tables" / "segments.parquet"
    rows = pq.read_table(table).to_pylist()
    rows[1]["subscriber_id"] = PSEUDONYM
    pq.write_table(pa.Table.from_pylist(rows), table)
    with AuditLog(workspace.path / "audit") as log:
        gate = create_app(workspace, log)
        with gate.open(), in_thread(gate) as port:
            yield Service(port, log, workspace)


def sign_in(service: Service, *roles: str) -> tuple[dict[str, str], str]:
    """The headers of a browser that signed in with a new key, and the key's id."""
    keys = ApiKeys(service.workspace)
    secret = keys.create(*roles)
    time.sleep(0.15)  # a running service looks for new keys ten times a second
    status, _, headers = service.send("/login", f"key={secret}&next=%2Fruns")
    assert (status, headers["Location"]) == (303, "/runs")
    token, *fields = headers["Set-Cookie"].split("; ")
    assert set(fields) == {"Path=/", "HttpOnly", "SameSite=Strict", f"Max-Age={12 * 3600}"}
    assert secret not in headers["Set-Cookie"]
    return {**HTML, "Cookie": token}, keys.all()[-1]["id"]


def test_a_session_that_began_by_tls_stays_there() -> None:
    told = cookie("token", {b"origin": b"https://subsight.example"})["Set-Cookie"]
    assert told.endswith("; HttpOnly; SameSite=Strict; Max-Age=43200; Secure")


def test_without_a_key_a_page_leads_to_the_login(service: Service) -> None:
    ApiKeys(service.workspace).create("read")
    status, _, headers = service.raw("/studies/overview?handset=A&from=2019-04-24")
    assert (status, headers["Location"]) == (
        303, "/login?next=/studies/overview%3Fhandset%3DA%26from%3D2019-04-24",
    )  # fmt: skip
    page = service.page("/login?next=/runs")
    assert 'name="next" value="/runs"' in page
    assert "150,001" not in page
    assert "Engagement" not in page
    assert service.raw("/people/" + PSEUDONYMS[0])[0] == 303
    assert service.raw("/studies/overview/top_handsets.csv")[0] == 303


def test_a_session_reads_pages_until_its_key_is_revoked(service: Service) -> None:
    browser, id = sign_in(service, "read")
    assert "telcom.csv" in service.page("/runs", headers=browser)
    assert "Sign out" in service.page("/", headers=browser)
    # The API itself takes no cookie.
    assert service.raw("/model", headers=browser)[0] == 401
    assert service.page("/nothing", 404, headers=browser)
    ApiKeys(service.workspace).revoke(id)
    time.sleep(0.15)
    assert service.raw("/runs", headers=browser)[0] == 303


def test_signing_out_ends_the_session(service: Service) -> None:
    browser, _ = sign_in(service, "read")
    status, _, headers = service.send("/logout", "", headers={"Cookie": browser["Cookie"]})
    assert (status, headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in headers["Set-Cookie"]
    assert service.raw("/", headers=browser)[0] == 303


def test_a_key_that_may_not_read_opens_nothing(service: Service) -> None:
    secret = ApiKeys(service.workspace).create("predict")
    for key in (secret, "no key", ""):
        status, page, headers = service.send("/login", f"key={key}")
        assert status == 401
        assert "not known, or has not the role read" in page
        assert "Set-Cookie" not in headers
    status, body, _ = service.raw("/", headers={**HTML, "Authorization": f"Bearer {secret}"})
    assert status == 403
    assert b"The key may not do this" in body


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1"])
def test_forms_of_other_pages_are_refused(service: Service, origin: str | None) -> None:
    secret = ApiKeys(service.workspace).create("read")
    status, _, headers = service.send("/login", f"key={secret}", origin=origin)
    assert (status, headers["Set-Cookie"]) == (403, None)


def test_a_form_too_large_is_refused(service: Service) -> None:
    ApiKeys(service.workspace).create("read")
    assert service.send("/login", "key=" + "x" * 5000)[0] == 413


@pytest.mark.parametrize(
    ("asked", "after"),
    [("/runs?x=1", "/runs?x=1"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil", "/"),
     ("", "/"), ("/login", "/"), ("/a\r\nSet-Cookie: x", "/")],
)  # fmt: skip
def test_a_login_leads_to_this_service_only(asked: str, after: str) -> None:
    assert target(asked) == after


def test_a_session_ends_after_twelve_hours() -> None:
    now = 0.0
    sessions = Sessions(lambda: now)
    headers = {b"cookie": b"a=b; subsight_session=" + sessions.begin("digest").encode()}
    now = LASTS_S - 1.0
    assert sessions.key_of(headers) == "digest"
    now = float(LASTS_S)
    assert sessions.key_of(headers) is None
    assert sessions.key_of({b"cookie": b"subsight_session=x"}) is None
    assert sessions.key_of({b"cookie": b"\xff;;=;"}) is None


def test_a_clear_number_is_looked_up_by_an_admin_alone_and_never_recorded(service: Service) -> None:
    reader, id = sign_in(service, "read")
    number = "subscriber=%2B33+6+64+96+22+39"
    status, page, _ = service.send("/find", number, headers=reader)
    assert status == 403
    assert "pseudonym only" in page
    assert "clear number" not in service.page("/find", headers=reader).split("<label")[1].split("</label>")[0]
    status, _, headers = service.send("/find", f"subscriber={PSEUDONYM.upper()}", headers=reader)
    assert (status, headers["Location"]) == (303, f"/people/{PSEUDONYM}")
    admin, boss = sign_in(service, "admin")
    status, _, headers = service.send("/find", number, headers=admin)
    assert (status, headers["Location"]) == (303, f"/people/{PSEUDONYM}")
    assert "Silver" in service.page(f"/people/{PSEUDONYM}", headers=admin)
    assert service.send("/find", "subscriber=%2B33+1", headers=admin)[0] == 404
    looked = service.events("subscriber_looked_up")
    assert [(e["caller"], e["by"], e["is_found"], e["subscriber_id"]) for e in looked[:2]] == [
        (f"key {id}", "pseudonym", True, PSEUDONYM),
        (f"key {boss}", "clear number", True, PSEUDONYM),
    ]
    assert looked[2]["is_found"] is False
    assert service.events("subscriber_look_up_refused")[0]["caller"] == f"key {id}"
    assert service.events("subscriber_viewed")[0]["subscriber_id"] == PSEUDONYM
    written = json.dumps(looked) + json.dumps(service.events("subscriber_look_up_refused"))
    assert "64962239" not in written.replace(" ", "")


def test_a_run_in_clear_names_subscribers_to_admins_alone(service: Service) -> None:
    path = service.workspace.run() / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"identifiers": ["clear"]}))
    gate = create_app(service.workspace, service.log)
    with gate.open(), in_thread(gate) as port:
        clear = Service(port, service.log, service.workspace)
        for role, status in (("read", 403), ("admin", 200)):
            browser, _ = sign_in(clear, role)
            study = clear.page("/studies/engagement", headers=browser)
            assert ("Who are the most engaged subscribers?" in study) == (status == 200)
            assert "How do the clusters differ?" in study
            for kind in ("", ".csv"):
                path_of = f"/studies/engagement/top_subscribers{kind}"
                assert clear.raw(path_of, headers=browser)[0] == status
            assert "look them up with" in clear.page("/find", headers=browser)
