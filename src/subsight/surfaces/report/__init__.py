"""The report: a run as one HTML file that needs no network, script or other file, or printed as PDF."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

from subsight.answers import Answer, dumps
from subsight.results import Results, respectful
from subsight.workspace import write_atomically

__all__ = ["Drawing", "write"]


class Drawing:
    """Charts drawn by a process of its own while a run computes; closed with the `with` that opened it.

    A drawing is used for the answer that it was made of, and for no other.
    """

    def __init__(self, minimum_group: int) -> None:
        self._minimum_group = minimum_group
        self._drawn: dict[str, tuple[Answer, Future[str | None]]] = {}

    def __enter__(self) -> Drawing:
        self._renderer = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("renderer.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            encoding="utf-8",
        )  # fmt: skip
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._renderer.kill()
        self._pool.shutdown(cancel_futures=True)
        with suppress(OSError):
            self._renderer.communicate()

    def add(self, answer: Answer) -> None:
        """Draws an answer's chart as the report will show it: as published, small groups suppressed."""
        (published,) = (Answer.from_json(value) for value in json.loads(dumps([answer])))
        self.begin(respectful(published, self._minimum_group))

    def begin(self, answer: Answer) -> None:
        """Draws this answer's chart, unless it was drawn already."""
        drawn = self._drawn.get(answer.id)
        if drawn is None or drawn[0] != answer:
            self._drawn[answer.id] = answer, self._pool.submit(self._draw, answer)

    def result(self, answer: Answer) -> str | None:
        """The chart of an answer that was begun, as SVG; None where it has none."""
        return self._drawn[answer.id][1].result()

    def svg(self, spec: str) -> str:
        """Any other chart, after those that were begun before it."""
        return self._pool.submit(self._svg, spec).result()

    def _draw(self, answer: Answer) -> str | None:
        from subsight.surfaces.report import rendering

        spec = rendering.spec(answer)
        return None if spec is None else rendering.dressed(answer, self._svg(spec))

    def _svg(self, spec: str) -> str:
        to, back = self._renderer.stdin, self._renderer.stdout
        try:
            if to is not None and back is not None:
                to.write(spec + "\n")
                to.flush()
                if svg := json.loads(back.readline()):
                    return str(svg)
        except (OSError, ValueError):
            pass  # the process ended: slower here, but drawn
        import vl_convert

        return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))


def write(
    run: Path, output: Path, drawing: Drawing | None = None, studies: Sequence[str] | None = None
) -> None:
    """Writes the report of a run, all of it or none.

    Args:
        run: a run's folder with its manifest, answers, quality and models.
        output: the file; HTML, or PDF where its name ends in `.pdf`.
        drawing: charts that were begun already.
        studies: only these, beside what was found with the data.

    Raises:
        NotFoundError: the folder holds no run, or the run no such study.
        ConfigurationError: what makes a PDF is not installed.
        WorkspaceError: a part of the run cannot be read.
        StorageError: the file cannot be written.
    """
    from subsight.errors import StorageError
    from subsight.surfaces.report import pdf
    from subsight.surfaces.report.page import page

    results = Results(run)
    as_pdf = output.suffix == ".pdf"
    if as_pdf:
        pdf.required()  # said before seconds of drawing
    with nullcontext(drawing) if drawing else Drawing(results.minimum_group) as charts:
        html = page(results, charts, studies)
    try:
        write_atomically(output, pdf.printed(html) if as_pdf else html)
    except OSError as error:
        raise StorageError(
            f"{output} cannot be written", found=str(error), do="free disk space or name another place"
        ) from error
