"""docs/netflow.md names every element that is read, and every reason why something is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from subsight.sources import netflow
from subsight.sources.netflow.fields import NAMES

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "netflow.md").read_text(encoding="utf-8").split())
SOURCE = Path(netflow.__file__).parent


def texts(node: ast.AST) -> Iterator[str]:
    """The texts in an expression, with `N` for what is put into them."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "N" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))


def reasons() -> set[str]:
    """What the decoder passes on as reasons to drop or to note, and those that columns know by name."""
    found: set[str] = set()
    for name in ("decoder.py", "templates.py", "columns.py"):
        for node in ast.walk(ast.parse((SOURCE / name).read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            if isinstance(node, ast.Call) and getattr(called, "attr", "") == "_drop":
                found.update(texts(node.args[1]))
            elif isinstance(node, ast.Call) and getattr(called, "attr", getattr(called, "id", "")) in (
                "_note", "Malformed",
            ):  # fmt: skip
                found.update(texts(node.args[0]))
            elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "").startswith("_NO_"):
                assert node.value is not None
                found.update(texts(node.value))
            elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "missing":
                found.update(texts(node.slice))
    return found


def test_every_reason_stands_on_the_page() -> None:
    found = reasons()
    assert len(found) > 20
    assert {reason for reason in found if reason not in PAGE} == set()


def test_every_element_stands_on_the_page_with_its_number_and_no_other_does() -> None:
    told = re.findall(r"\b([a-z]+[A-Z]\w+) \((\d+)\)", PAGE)
    assert {int(number): name for name, number in told} == NAMES
