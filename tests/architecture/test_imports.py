"""Imports run one way: a step may use everything below it, and nothing below knows the steps."""

from __future__ import annotations

import ast
from pathlib import Path

import sales_mart

PACKAGE = Path(sales_mart.__file__).parent
FRONT = {"__init__.py", "__main__.py", "testing.py", "workflows/__main__.py"}
"""What users import or start: it may use everything."""
ABOVE = {
    "steps": {"facade", "api", "cli"},
    "facade": {"api", "cli"},
    "api": {"steps", "facade", "cli"},
    "cli": set[str](),
}
"""Folder -> those that it must not use; all others may use none of these."""
MOST_LINES = 400


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the folders of the package that a module imports from, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE.name:
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE.name}.")}
    return found


def test_nothing_below_the_steps_knows_them() -> None:
    found: list[str] = []
    for path in modules():
        name = path.relative_to(PACKAGE)
        if str(name) not in FRONT:
            above = ABOVE.get(name.parts[0], set(ABOVE))
            found += [f"{name} imports {each}" for each in sorted(imported(path) & above)]
    assert found == []


def test_the_imports_of_a_function_are_seen_too() -> None:
    assert "dbt_runner" in imported(PACKAGE / "config" / "model.py")


def test_a_module_can_be_read_at_once() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules()
    }
    assert {name for name, lines in lengths.items() if lines > MOST_LINES} == set()
