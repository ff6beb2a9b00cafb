"""The report: a run as one HTML file that needs no network, script or other file, or printed as PDF."""

from __future__ import annotations

import base64
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

__all__ = ["Drawing", "Renderer", "write"]


class Renderer:
    """A process of its own that draws, so that nobody else waits for the interpreter's lock meanwhile.

    It is begun when it is first asked, and again where it ended. One thread at a time may ask.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begins the process, so that it is ready sooner."""
        if self._process is None or self._process.poll() is not None:
            self.wait()
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("renderer.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                encoding="utf-8",
            )  # fmt: skip

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()

    def wait(self) -> None:
        """Waits for the end of a process that was closed."""
        if self._process is not None:
            with suppress(OSError, ValueError):
                self._process.communicate()

    def svg(self, spec: str) -> str:
        """A Vega-Lite spec on one line as SVG."""
        if drawn := self._ask(spec):
            return drawn
        # The process ended: slower here, but drawn. Of a spec that cannot be drawn this says why not.
        import vl_convert

        return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))

    def png(self, svg: str, scale: float) -> bytes:
        """An SVG as PNG, `scale` pixels to each of its own."""
        if drawn := self._ask(json.dumps({"svg": svg, "scale": scale})):
            return base64.b64decode(drawn)
        import vl_convert

        return bytes(vl_convert.svg_to_png(svg, scale=scale))

    def _ask(self, line: str) -> str | None:
        with suppress(OSError, ValueError):
            self.start()
            to, back = (self._process.stdin, self._process.stdout) if self._process else (None, None)
            if to is not None and back is not None:
                to.write(line + "\n")
                to.flush()
                if drawn := json.loads(back.readline()):
                    return str(drawn)
        return None


class Drawing:
    """Charts drawn by a process of its own while a run computes; closed with the `with` that opened it.

    A drawing is used for the answer that it was made of, and for no other.
    """

    def __init__(self, minimum_group: int) -> None:
        self._minimum_group = minimum_group
        self._drawn: dict[str, tuple[Answer, Future[str | None]]] = {}

    def __enter__(self) -> Drawing:
        self._renderer = Renderer()
        self._renderer.start()
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._renderer.close()
        self._pool.shutdown()
        self._renderer.wait()

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
        return self._pool.submit(self._renderer.svg, spec).result()

    def _draw(self, answer: Answer) -> str | None:
        from subsight.surfaces.report import rendering

        spec = rendering.spec(answer)
        return None if spec is None else rendering.dressed(answer, self._renderer.svg(spec))


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
