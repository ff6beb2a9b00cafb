from __future__ import annotations

from collections.abc import Iterator

import pytest

from subsight.store import Store, open_store


@pytest.fixture(scope="module")
def duck() -> Iterator[Store]:
    """One store for a module's tests, which all read files of their own."""
    with open_store("duckdb", memory="1GB") as opened:
        yield opened
