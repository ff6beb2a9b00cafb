"""Who may see and look up whom, and the record of it."""

from __future__ import annotations

from typing import Any, Final

from subsight.errors import NotFoundError
from subsight.lifecycle.audit import AuditLog
from subsight.results import Answer
from subsight.surfaces.api.gate import Asked
from subsight.surfaces.api.refusals import RefusedError
from subsight.surfaces.dashboard import people
from subsight.surfaces.dashboard.addresses import View
from subsight.surfaces.dashboard.state import Current, State
from subsight.workspace import Workspace

__all__ = ["CLEAR_ROLE", "Lookups", "check_sight", "may_see"]

Page = tuple[str, dict[str, Any]]
CLEAR_ROLE: Final = "admin"
"""Who may look a subscriber up by a clear number."""


class Lookups:
    """The pages about single subscribers; each look-up is recorded before it is answered."""

    def __init__(self, workspace: Workspace, state: State, audit: AuditLog) -> None:
        self._workspace, self._state, self._audit = workspace, state, audit

    def find(self, _view: View, asked: Asked) -> Page:
        """The form to look for a subscriber."""
        run = self._state.current()
        is_clear = run is not None and run.is_clear
        return "find.jinja", {"may_clear": CLEAR_ROLE in asked.roles, "is_clear": is_clear}

    def person(self, _view: View, asked: Asked, pseudonym: str) -> Page:
        """One subscriber; that they were looked at is recorded first."""
        run = self._state.run()
        if not people.PSEUDONYM.fullmatch(pseudonym):
            raise NotFoundError("this is no pseudonym", expected="32 hex digits", do="look for them")
        person = people.person(self._workspace, run.results, pseudonym)
        self._record("subscriber_viewed", asked, subscriber_id=pseudonym)
        return "person.jinja", {"person": person}

    def look_up(self, identifier: str, asked: Asked) -> str:
        """The pseudonym of whom an identifier names, recorded without any clear number.

        Raises:
            RefusedError: 403, a clear number and not the role for it.
            NotFoundError: nobody is called so.
        """
        run = self._state.run()
        pseudonym, is_clear = people.named(identifier, self._workspace.key())
        if is_clear and CLEAR_ROLE not in asked.roles:
            self._record("subscriber_look_up_refused", asked, by="clear number")
            raise RefusedError(
                403,
                "subscribers can be looked up by pseudonym only",
                found="something else",
                expected=f"32 hex digits, or a key with the role {CLEAR_ROLE}",
            )
        known = pseudonym and people.holds(run.results, pseudonym)
        by = "clear number" if is_clear else "pseudonym"
        self._record("subscriber_looked_up", asked, by=by, is_found=bool(known), subscriber_id=pseudonym)
        if not pseudonym or not known:
            raise NotFoundError(
                "the current run has no such subscriber",
                expected="a pseudonym of this workspace, or a clear number with its country code",
                do="check it and look again",
            )
        return pseudonym

    def _record(self, kind: str, asked: Asked, **said: Any) -> None:
        # In a strict log it is on disk before anything is shown.
        self._audit.event(kind, caller=asked.caller, **said).result()


def may_see(run: Current, answer: Answer, asked: Asked) -> bool:
    """Lists of single subscribers name them: in clear, where a run keeps them so."""
    return not (run.is_clear and answer.ranks_subscribers) or CLEAR_ROLE in asked.roles


def check_sight(run: Current, answer: Answer, asked: Asked) -> None:
    """Whether the caller may see an answer.

    Raises:
        RefusedError: 403, it names subscribers in clear.
    """
    if not may_see(run, answer, asked):
        raise RefusedError(
            403, "this answer names subscribers in clear", expected=f"a key with the role {CLEAR_ROLE}"
        )
