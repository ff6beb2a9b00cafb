"""What can go wrong, in words a person can act on, with exit codes a script can trust."""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "ExportError",
    "FilterError",
    "InputError",
    "MappingError",
    "NotFoundError",
    "StorageError",
    "SubsightError",
    "WorkspaceBusyError",
    "WorkspaceError",
]


class SubsightError(Exception):
    """Any failure that Subsight explains.

    Args:
        what: the thing and what is wrong with it.
        found: what was there.
        expected: what should have been there.
        do: what the reader can do about it.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, found: str | None = None, expected: str | None = None, do: str | None = None
    ) -> None:
        self.what, self.found, self.expected, self.do = what, found, expected, do
        parts = [what]
        if found is not None:
            parts.append(f"found: {found}")
        if expected is not None:
            parts.append(f"expected: {expected}")
        if do is not None:
            parts.append(f"do: {do}")
        super().__init__("\n  ".join(parts))


class ConfigurationError(SubsightError):
    """A setting is unknown or out of range."""

    exit_code = 2


class InputError(SubsightError):
    """An input cannot be read, or holds nothing that can be published."""

    exit_code = 3


class FilterError(InputError):
    """A question cannot be answered for that part of a run: not by such a filter, or for too few people."""


class MappingError(SubsightError):
    """A file's columns cannot be matched to the canonical table."""

    exit_code = 4


class WorkspaceError(SubsightError):
    """A workspace is missing, damaged, or not a workspace."""

    exit_code = 5


class WorkspaceBusyError(WorkspaceError):
    """Another process is writing to this workspace."""

    exit_code = 6


class StorageError(SubsightError):
    """The disk is full or refuses to be written."""

    exit_code = 7


class ExportError(SubsightError):
    """A target refused a table, or does not hold what was sent."""

    exit_code = 8


class NotFoundError(SubsightError):
    """A run, table, study, answer or subscriber of that name does not exist."""

    exit_code = 9
