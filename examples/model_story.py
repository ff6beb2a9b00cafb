"""A model's life at a simulated operator, month by month: trained, served, watched, replaced, rolled back.

    uv run python examples/model_story.py

Three months of one operator, with the same people, handsets and cells in each. April repeats March's habits
with sessions of its own, so a look at the models must find nothing; in May the distance between light and
heavy users is planted to grow threefold, which a look must find and name. Each step is a command that an
operator would type (run here within one process, as MLflow takes seconds to import); the service is a
process of its own, asked over HTTP. Whatever is not as it should be ends the story with exit code 1.

Why a workspace for each month: a run computes over all that was ingested. Where April came on top of
March, totals such as activity would be those of two months and models of one month would be asked about
other numbers than they learned from: that is drift, though nobody changed. So each month stands alone, and
the models travel: `models adopt` takes the champions of another workspace. Scores are distances from
centroids that every run fits anew, so they too are compared as they are made. The workspaces share one key
(SUBSIGHT_KEY): who is held out of training is decided by pseudonym, and stays the same people.

Why not another seed for April: a seed draws the operator too. Another one has other handsets in fashion,
and a look calls that drift, rightly.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

DUE = 20
"""The exit code of `models watch` where training is due."""


def expect(claim: str, holds: bool) -> None:
    """Says what should be so, and ends the story where it is not."""
    print(f"  {'as expected' if holds else 'NOT AS EXPECTED'}: {claim}\n", flush=True)
    if not holds:
        sys.exit(1)


def subsight(*arguments: str | Path, exit_code: int = 0) -> str:
    """Runs a command, shows it with what it says, and returns that."""
    from subsight.surfaces.cli import app

    words = [str(argument) for argument in arguments]
    print(f"$ subsight {' '.join(words)}", flush=True)
    said = io.StringIO()
    with redirect_stdout(said):
        found = app(words, standalone_mode=False) or 0
    print("".join(f"  {line}\n" for line in said.getvalue().splitlines()), end="")
    if found != exit_code:
        expect(f"exit code {exit_code}, found {found}", False)
    return said.getvalue()


@dataclass(frozen=True)
class Month:
    """What an operator has at the end of a month: the records of its sessions, and answers to a survey."""

    sessions: Path
    answers: Path


def months(folder: Path, subscribers: int, sessions: int, planted: float) -> tuple[Month, Month, Month]:
    """March, April and May of 28 days each.

    The simulator makes two periods of equal length. The quiet operator's are March and April; May is the
    second period of the changed operator, whose draws are the same: it differs in what is planted alone.
    """
    import pyarrow.compute as pc
    import pyarrow.csv as arrow_csv
    import pyarrow.parquet as pq

    from subsight.simulate import Operator, simulate

    begins, month = date(2026, 3, 2), timedelta(days=28)
    quiet = Operator(subscribers, 2 * sessions, starts_on=begins, days=56)
    changed = replace(quiet, starts_on=begins + month, segment_effect=planted)
    first, second = simulate(quiet, folder / "quiet"), simulate(changed, folder / "changed")
    # Each operator is asked after its second period: March's survey is April's, a month earlier.
    answers = arrow_csv.read_csv(first.feedback)
    earlier = pc.subtract(answers["answered_at"], month)
    early = answers.set_column(1, "answered_at", pc.strftime(earlier, format="%Y-%m-%dT%H:%M:%SZ"))
    arrow_csv.write_csv(early, folder / "march-answers.csv")
    made = []
    for number, (name, operator, survey) in enumerate([
        ("march", first, folder / "march-answers.csv"),
        ("april", first, first.feedback),
        ("may", second, second.feedback),
    ]):  # fmt: skip
        table = pq.read_table(operator.sessions)
        day = table["start_at"].cast("date32")
        low, high = begins + number * month, begins + (number + 1) * month
        pq.write_table(
            table.filter(pc.and_(pc.greater_equal(day, low), pc.less(day, high))), folder / f"{name}.parquet"
        )
        made.append(Month(folder / f"{name}.parquet", survey))
    return made[0], made[1], made[2]


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """The service over a workspace, as a process; the address where it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    print(f"$ subsight serve {workspace} --port {port} &", flush=True)
    command = [sys.executable, "-m", "subsight", "serve", str(workspace), "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        for _ in range(600):
            time.sleep(0.1)
            try:
                ask(f"http://127.0.0.1:{port}/ready")
                break
            except OSError:
                continue
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, body: Any = None) -> Any:
    """A GET, or with a body a POST, and the decoded answer."""
    content = None if body is None else json.dumps(body).encode()
    with urlopen(Request(address, content, {"Content-Type": "application/json"}), timeout=30) as answer:
        return json.loads(answer.read())


def answered_by(service: str, version: int) -> bool:
    """Whether that version of the behaviour model answers, at the latest a second from now."""
    answer = None
    for _ in range(10):
        answer = ask(f"{service}/predict", {"activity_dl_ms": 60_000, "evening_share": 0.4})
        if answer["version"] == version:
            break
        time.sleep(0.1)
    print(f"POST {service}/predict\n  {json.dumps(answer)}")
    return bool(answer and (answer["model"], answer["version"]) == ("behaviour", version))


def ingested(month: Month, workspace: Path) -> None:
    """A month's records become a run of its own workspace."""
    subsight("run", month.sessions, "--workspace", workspace, "--studies", "satisfaction")


def adopted(source: Path, workspace: Path, *names: str) -> None:
    """The champions of another workspace are registered here, and those named answer here too."""
    for line in subsight("models", "adopt", workspace, source).splitlines():
        name, version = line.split(":")[0].split()
        if name in names:
            subsight("models", "promote", workspace, version, "--model", name)


def trained(march: Month, workspace: Path) -> None:
    """March: records and answers in, models out."""
    ingested(march, workspace)
    subsight("ingest", "feedback", march.answers, "--workspace", workspace)
    said = subsight("models", "train", workspace)
    expect("three models, each the first champion of its name", said.count("now the champion") == 3)


def asked(service: str, march: Month) -> None:
    """Predictions and a survey answer over HTTP."""
    expect("version 1 of behaviour answers", answered_by(service, 1))
    import pyarrow.parquet as pq

    one = pq.read_table(march.sessions, columns=["msisdn"])["msisdn"][0].as_py()
    prediction = ask(f"{service}/predict", {"rtt_ms": 180, "throughput_kbps": 2500, "subscriber_id": one})
    print(f"POST {service}/predict\n  {json.dumps(prediction)}")
    expect("a measure of quality is for the feedback model", prediction["model"] == "feedback")
    answer = {
        "subscriber_id": one,
        "answered_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "csat": 4,
        "prediction_id": prediction["id"],
    }
    kept = ask(f"{service}/feedback", answer)
    print(f"POST {service}/feedback\n  {json.dumps(kept)}")
    expect("the answer is kept", kept == {"status": "kept"})


def unchanged(april: Month, workspace: Path, service_workspace: Path) -> None:
    """April: nobody changed, so nothing is to be done."""
    ingested(april, workspace)
    adopted(service_workspace, workspace, "identity", "behaviour", "feedback")
    said = subsight("models", "watch", workspace)
    expect(
        "no drift, no drop, nothing to do", "training is due" not in said and said.count("drift: 0 of") == 3
    )


def changed(may: Month, workspace: Path, service_workspace: Path) -> None:
    """May: light and heavy users have moved apart, which is seen, named and learned."""
    ingested(may, workspace)
    subsight("ingest", "feedback", may.answers, "--workspace", workspace)
    adopted(service_workspace, workspace, "identity", "behaviour", "feedback")
    said = subsight("models", "watch", workspace, exit_code=DUE)
    due = [line for line in said.splitlines() if "training is due, drift" in line]
    # How long a subscriber was active is what the planted distance changes first.
    expect("drift is called, and the activity named", bool(due) and "activity_dl_ms" in due[0])
    said = subsight("models", "watch", workspace, "--retrain", exit_code=DUE)
    expect("a version waits for somebody to promote it", "behaviour 2: trained; promote it with" in said)
    said = subsight("models", "compare", workspace, "1", "2", "--format", "json")
    expect("the new one errs less on May's held-out subscribers", json.loads(said)["is_better"])
    subsight("models", "promote", workspace, "2", "--why", "May's subscribers use the network otherwise")


def story(folder: Path, subscribers: int, sessions: int, planted: float) -> None:
    """Tells it all."""
    print(f"An operator of {subscribers:,} subscribers and about {sessions:,} sessions a month\n", flush=True)
    march, april, may = months(folder, subscribers, sessions, planted)
    spaces = [folder / name for name in ("ws-march", "ws-april", "ws-may")]
    trained(march, spaces[0])
    with served(spaces[0]) as service:
        asked(service, march)
        unchanged(april, spaces[1], spaces[0])
        changed(may, spaces[2], spaces[0])
        expect("the service still answers with version 1", answered_by(service, 1))
        adopted(spaces[2], spaces[0], "behaviour")
        expect("version 2 answers, without a restart", answered_by(service, 2))
        subsight("models", "rollback", spaces[0], "--why", "a drill")
        expect("version 1 answers again", answered_by(service, 1))
    said = subsight("audit", "verify", spaces[0])
    expect("every answer stands in a whole log", said.splitlines()[-1].startswith("whole:"))
    print("The story went as it should.")


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description="A model's life at a simulated operator.")
    parser.add_argument("--subscribers", type=int, default=5_000)
    parser.add_argument("--sessions", type=int, default=30_000, help="a month")
    parser.add_argument(
        "--planted", type=float, default=3.0, help="May's distance; at 1 nothing is to be found"
    )
    parser.add_argument("--folder", type=Path, help="kept, to look around in; otherwise all goes at the end")
    options = parser.parse_args()
    # Simulated people need no secret, and with one key the story is the same every time.
    os.environ.setdefault("SUBSIGHT_KEY", "of a simulated operator, no secret")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        story(folder, options.subscribers, options.sessions, options.planted)


if __name__ == "__main__":
    main()
