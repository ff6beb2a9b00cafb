"""Slides: a run as a presentation with native charts, one message a slide, definitions in its notes."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from pathlib import Path

from subsight.errors import ConfigurationError, StorageError
from subsight.results import Results
from subsight.workspace import write_atomically

__all__ = ["write"]


def write(
    run: Path,
    output: Path,
    studies: Sequence[str] | None = None,
    template: Path | None = None,
    *,
    all_answers: bool = False,
) -> None:
    """Writes a run as a presentation, all of it or none.

    Args:
        run: a run's folder.
        output: the `.pptx` file.
        studies: only these, beside what was found with the data.
        template: a presentation whose layouts, fonts and colours are used in place of ours.
        all_answers: every answer instead of each study's key answers.

    Raises:
        ConfigurationError: the extra `slides` is not installed, or the template cannot be used or would be
            replaced.
        NotFoundError: the folder holds no run, or the run no such study.
        StorageError: the file cannot be written.
    """
    _required()
    from subsight.surfaces.slides.deck import deck

    if template and template.exists() and output.exists() and output.samefile(template):
        raise ConfigurationError(
            "the slides would replace their template", found=str(output), do="name another file with --output"
        )
    made = io.BytesIO()
    deck(Results(run), studies, template, whole=all_answers).save(made)
    try:
        write_atomically(output, made.getvalue())
    except OSError as error:
        raise StorageError(
            f"{output} cannot be written", found=str(error), do="free disk space or name another place"
        ) from error


def _required() -> None:
    try:
        importlib.import_module("pptx")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "slides need the extra `slides`",
            found=f"no module {error.name}",
            expected="python-pptx",
            do="pip install 'subsight[slides]'",
        ) from error
