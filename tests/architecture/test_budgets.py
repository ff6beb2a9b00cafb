"""The budgets of the design: sizes, cycles and layers are checked, not hoped for."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import subsight

ROOT = Path(subsight.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_stay_small() -> None:
    sizes = {path.relative_to(ROOT): _lines(path) for path in FILES}
    assert statistics.median(sizes.values()) <= 200
    assert {path: size for path, size in sizes.items() if size > 600} == {}


def test_functions_stay_small() -> None:
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    )
    assert len(lengths) > 200
    assert lengths[int(0.9 * len(lengths))] <= 40


def test_public_names_are_few_and_pinned() -> None:
    assert sorted(subsight.__all__) == ["Answer", "Insight", "SubsightError", "chart", "inspect", "open"]
    for name in subsight.__all__:
        assert getattr(subsight, name) is not None


def _imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("subsight"):
            for name in node.names:
                found.add(f"{node.module}.{name.name}")
                found.add(node.module)
    return found


def test_modules_do_not_import_in_a_circle() -> None:
    names = {
        path: "subsight"
        + "".join(f".{p}" for p in path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
    }
    # A package's face may load its own parts late, and its parts look at the face: not a circle of rooms.
    graph = {
        names[path]: {
            target
            for target in _imports(path) & set(names.values())
            if target != names[path] and not target.startswith(names[path] + ".")
        }
        for path in FILES
        if names[path] != "subsight"
    }
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in sorted(graph.get(name, ())):
                walk(target, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())
