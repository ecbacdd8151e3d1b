"""The messages that a page explains are those of the code, under the exit codes of the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import NamedTuple

import pytest

from documentation import ROOT
from sales_mart import errors

PAGE = (ROOT / "docs" / "how-to" / "when-a-run-fails.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([^|]+) \|", re.MULTILINE)
HEADS = {"code", "the message says", "what", "---", ""}
CLASSES = {name: getattr(errors, name).exit_code for name in errors.__all__}
BY_THE_SERVER = {"kind_of_http", "kind_of_sqlstate"}
"""Functions that give the class of an error by what the server said."""


class Function(NamedTuple):
    """A function, the texts in it, and the names that errors come from.

    They are those of its module where it raises nothing itself, but words what another one raises.
    """

    texts: tuple[str, ...]
    names: set[str]

    def says(self, phrase: str) -> bool:
        """Return whether a text of it has the phrase, in which `…` stands for anything."""
        pattern = ".*".join(re.escape(each.strip()) for each in phrase.split("…"))
        return any(re.search(pattern, text, re.DOTALL) for text in self.texts)


@cache
def functions() -> list[Function]:
    """Read all functions of the library; what an f-string fills in is `…`."""
    found: list[Function] = []
    for path in sorted((ROOT / "src" / "sales_mart").rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef):
                texts = tuple(filter(None, map(_text, ast.walk(node))))
                found.append(Function(texts, _names(node) or _names(module)))
    return found


def _names(inside: ast.AST) -> set[str]:
    names = {each.id for each in ast.walk(inside) if isinstance(each, ast.Name)}
    return names & (CLASSES.keys() | BY_THE_SERVER)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each) or "…" for each in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def section(code: int) -> str:
    """Return the part of the page about an exit code."""
    return PAGE.split(f"## Exit code {code}\n")[1].split("\n## ")[0]


def phrases() -> list[tuple[int, str]]:
    """List the phrases of the page with the exit codes that they stand under."""
    return [
        (code, phrase.strip())
        for code in (2, 65, 75)
        for cell in ROW.findall(section(code))
        if cell.strip("-") and cell not in HEADS
        for phrase in cell.split(";")
    ]


@pytest.mark.parametrize(("code", "phrase"), phrases())
def test_a_message_that_is_explained_is_one_of_ours(code: int, phrase: str) -> None:
    names = [each.names for each in functions() if each.says(phrase)]
    assert names, f"no function says {phrase!r}"
    right = {name for name, exit_code in CLASSES.items() if exit_code == code} | BY_THE_SERVER
    assert any(right & each for each in names), f"{phrase!r} does not end with {code}"


def test_the_exit_codes_are_all_there() -> None:
    table = PAGE.split("## ", 1)[0]
    explained = {int(code) for cell in ROW.findall(table) for code in re.findall(r"\d+", cell)}
    documented = {
        int(code) for code in re.findall(r"^\| (\d+) \|", errors.__doc__ or "", re.MULTILINE)
    }
    assert explained == documented - {0}
    assert set(CLASSES.values()) <= explained
