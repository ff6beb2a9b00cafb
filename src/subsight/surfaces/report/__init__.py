"""The report: a run as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from subsight.answers import Answer, dumps
from subsight.results import Results, respectful
from subsight.workspace import write_atomically

__all__ = ["Drawing", "write"]


class Drawing:
    """Charts drawn in the background while a run computes: the renderer needs no engine.

    A drawing is used for the answer that it was made of, and for no other.
    """

    def __init__(self, minimum_group: int) -> None:
        self._minimum_group = minimum_group
        self._pool = ThreadPoolExecutor(1)
        self._drawn: dict[str, tuple[Answer, Future[str | None]]] = {}
        self._pool.submit(_start_renderer)

    def add(self, answer: Answer) -> None:
        """Draws an answer's chart as the report will show it: as published, small groups suppressed."""
        (published,) = (Answer.from_json(value) for value in json.loads(dumps([answer])))
        shown = respectful(published, self._minimum_group)
        self._drawn[answer.id] = shown, self._pool.submit(_draw, shown)

    def of(self, answer: Answer) -> str | None:
        """The chart drawn of exactly this answer, or None."""
        drawn = self._drawn.get(answer.id)
        return drawn[1].result() if drawn and drawn[0] == answer else None


def _start_renderer() -> None:
    """Half a second's work, done before the first chart is there."""
    import vl_convert

    vl_convert.vegalite_to_svg({"data": {"values": [{}]}, "mark": "point"}, allowed_base_urls=[])


def _draw(answer: Answer) -> str | None:
    from subsight.surfaces.report.rendering import render

    return dict(render([answer])).get(answer.id)


def write(run: Path, output: Path, drawing: Drawing | None = None) -> None:
    """Writes the report of a run, all of it or none.

    Args:
        run: a run's folder with its manifest, answers, quality and models.
        output: the HTML file.
        drawing: charts that were drawn already.

    Raises:
        NotFoundError: the folder holds no run.
        WorkspaceError: a part of the run cannot be read.
        StorageError: the file cannot be written.
    """
    from subsight.errors import StorageError
    from subsight.surfaces.report.page import page

    html = page(Results(run), drawing)
    try:
        write_atomically(output, html)
    except OSError as error:
        raise StorageError(
            f"{output} cannot be written", found=str(error), do="free disk space or name another place"
        ) from error
