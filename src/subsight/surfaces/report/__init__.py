"""The report: a run as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from pathlib import Path

from subsight.results import Results
from subsight.workspace import write_atomically

__all__ = ["prepare", "write"]


def write(run: Path, output: Path) -> None:
    """Writes the report of a run, all of it or none.

    Args:
        run: a run's folder with its manifest, answers, quality and models.
        output: the HTML file.

    Raises:
        NotFoundError: the folder holds no run.
        WorkspaceError: a part of the run cannot be read.
        StorageError: the file cannot be written.
    """
    from subsight.errors import StorageError
    from subsight.surfaces.report.page import page

    html = page(Results(run))
    try:
        write_atomically(output, html)
    except OSError as error:
        raise StorageError(
            f"{output} cannot be written", found=str(error), do="free disk space or name another place"
        ) from error


def prepare() -> None:
    """Starts the chart renderer, which takes half a second: call it in a thread while a run computes."""
    import vl_convert

    vl_convert.vegalite_to_svg({"data": {"values": [{}]}, "mark": "point"}, allowed_base_urls=[])
