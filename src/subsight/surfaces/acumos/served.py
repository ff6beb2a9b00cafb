"""Which segmentation Acumos clients are answered by."""

from __future__ import annotations

import logging
from typing import Literal

from subsight.errors import ConfigurationError
from subsight.lifecycle.segmentation import Segmenter, Watched
from subsight.surfaces.acumos.schema import FIELDS

__all__ = ["Served", "check_covered"]

_log = logging.getLogger("subsight.api")


def check_covered(segmenter: Segmenter) -> None:
    """Whether the four fields of a message hold all that the segmentation takes.

    Raises:
        ConfigurationError: they do not.
    """
    known = set(FIELDS.values())
    for one in segmenter.inputs:
        if one.name not in known:
            raise ConfigurationError(
                "the segmentation cannot be served to Acumos clients",
                found=f"the input {one.name}",
                expected=f"none but {', '.join(FIELDS.values())}: what the contract's message holds",
                do="segment by these, or serve without --acumos",
            )
        if not one.is_number and one.numeric is None:
            raise ConfigurationError(
                "the segmentation cannot be served to Acumos clients",
                found=f"levels of {one.name} that are no numbers: {', '.join(one.levels[:5])}",
                expected="numbers: the contract's message holds nothing else",
                do="segment without it, or serve without --acumos",
            )


class Served:
    """The newest segmentation that the message covers; where a newer is not, the one before answers."""

    def __init__(self, watched: Watched, given: Literal["raw", "standardised"]) -> None:
        self._watched, self.given = watched, given
        self._seen: Segmenter | None = None
        self._current: Segmenter | None = None

    def check_start(self) -> None:
        """Looks for a segmentation before the service begins.

        Raises:
            ConfigurationError: there is none, it is broken, or the message does not cover it.
        """
        found = self._watched.current()
        if found is None:
            raise ConfigurationError(
                "there is no segmentation for Acumos clients",
                found=self._watched.trouble,
                expected="a run that divides subscribers into segments",
                do="publish one with: subsight segment WS, or serve without --acumos",
            )
        check_covered(found)

    def current(self) -> Segmenter:
        """The one that answers now; a change of it is seen within 100 ms.

        Raises:
            ConfigurationError: there is none.
        """
        found = self._watched.current()
        if found is not None and found is not self._seen:
            self._seen = found
            try:
                check_covered(found)
                self._current = found
            except ConfigurationError as error:
                _log.error("%s; the one before answers Acumos clients", error)
        if self._current is None:
            self.check_start()
            raise ConfigurationError("there is no segmentation for Acumos clients")
        return self._current
