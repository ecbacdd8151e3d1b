"""The columns of a sale are named where they are declared, checked and made, and nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import sales_mart

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(sales_mart.__file__).parent
NAMED = re.compile(r"\b(price|product|quantity)\b")
DECLARED = ("schema.py", "rows/")
"""Where the columns are declared, and where rows are checked."""
MAKING = {
    "synthetic/cases.py": "makes rows that break a rule, and says which",
    "synthetic/generate.py": "makes rows and sets their values by the rules",
    "testing.py": "is Hypothesis' strategies for rows, for the tests of others",
}
"""Modules that name them, and why."""


def words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the names and texts of a module with their lines, but for docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.lineno, node.arg or ""
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.alias):
            yield node.lineno, f"{node.name} {node.asname}"
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.MatchMapping):
            yield node.lineno, str(getattr(node, "name", None) or getattr(node, "rest", None))


def named(text: str) -> list[int]:
    return sorted(line for line, word in words(ast.parse(text)) if NAMED.search(word))


def test_three_modules_name_the_columns_of_a_sale() -> None:
    found: dict[str, list[int]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        lines = named(path.read_text(encoding="utf-8"))
        if lines and not module.startswith(DECLARED):
            found[module] = lines
    assert found.keys() == MAKING.keys(), found
    assert len(MAKING) == 3


def test_names_are_found_in_code_and_not_in_docstrings() -> None:
    text = '''"""The price."""
total = row.price
query = "select sum(quantity) from sales"
def product(): "its price"
counted(quantity=1)
f"{1} product"
prices = "product_prefix"
'''
    assert named(text) == [2, 3, 4, 5, 6]
