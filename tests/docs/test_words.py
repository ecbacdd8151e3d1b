"""Names, messages and docs use the words of `CONTRIBUTING.md`, and no older ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from documentation import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = (
    *("src", "dbt", "workflows", "charts", "tests", "docs", "scripts", "benchmarks", ".github"),
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "Dockerfile", "mkdocs.yml"),
)
KINDS = {".py", ".md", ".sql", ".yml", ".yaml", ".json", ".tpl", ".txt", ".toml", ""}
ARTICLES = "a|an|any|each|every|the|this|that|which|own|next|last|earlier|later|whole"
OLD = {
    "pipeline": r"(?<![a-z])roads?(?![a-z])",
    "step": rf"(?i:\b({ARTICLES}) stops?\b)|Stop `|(at_|aim\.|event\.)stop\b|stop_name|StopEvent",
    "run": r"(?i)(?<!ast\.)(?<!os\.)(?<!path\.)\bwalk(s|ed|ing)?\b",
    "check, result": r"(?i)judge|judging|judgement|verdict",
    "valid": r"rows.clean|[Cc]lean (row|part|transaction|column)s?\b|CleanTotals",
    "rejected": r"rows.quarantined",
    "excluded": r"(?i)outside.(of.)?(the.)?marts",
    "hidden, superseded": r"(?i)yielded",
    "most severe": r"(?i)gravest|gravity",
    "a plain word": r"(?i)vouch(?!er)|environs|\bmakes? way\b",
    "supervisor": r"(?i)\bguard(ed|s)?\b|_guard\b|guarded_",
    "temporary": r"(?i)scratch",
    "escape_control_characters": r"(?<![._\w])visible\((?!self)",
}
"""What is said now, and how to find what was said."""
ALLOWED = {
    "charts/sales-mart/templates/_helpers.tpl": "scratch",
    "charts/sales-mart/values.schema.json": "scratch",
    "scripts/chart_values.py": "scratch",
    "src/sales_mart/dbt_runner/process.py": "SCRATCH",
    "src/sales_mart/lake/records.py": "rows_clean|rows_quarantined|outside_marts|yielded",
    "src/sales_mart/warehouses/history.py": "yielded",
    "src/sales_mart/warehouses/own_tables.py": "yielded",
    "tests/chart/test_chart.py": "scratch",
    "tests/integration/test_migration.py": "yielded",
    "tests/unit/test_load_bigquery.py": "yielded",
    "tests/unit/test_transform.py": "SCRATCH",
}
"""Names of 0.1 that are still read, where they are."""


def files() -> Iterator[Path]:
    for name in FOLDERS:
        path = ROOT / name
        yield from path.rglob("*") if path.is_dir() else [path]


def is_text(path: Path) -> bool:
    """Return whether a file is one that people write or read."""
    here = {"__pycache__", "lake_0_1", "version_0_1", Path(__file__).name}
    return path.is_file() and path.suffix in KINDS and not here & set(path.parts)


@pytest.mark.parametrize("word", OLD)
def test_words_of_older_versions_are_gone(word: str) -> None:
    found: list[str] = []
    for path in filter(is_text, files()):
        name = path.relative_to(ROOT).as_posix()
        allowed = ALLOWED.get(name)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            text = re.sub(allowed, "", line) if allowed else line
            found += [f"{name}:{number}: {each[0]}" for each in re.finditer(OLD[word], text)]
        found += [name] if re.search(OLD[word], name) else []
    assert found == [], f"say {word}"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("pipeline", "the whole road"),
        ("pipeline", "roads.py"),
        ("step", "each stop of it"),
        ("run", "it walks the"),
        ("check, result", "class Judge"),
        ("valid", "seal.rows_clean"),
        ("excluded", "outside the marts"),
        ("temporary", "a ScratchFolder"),
        ("escape_control_characters", "print(visible(text))"),
    ],
)
def test_an_old_word_would_be_found(word: str, text: str) -> None:
    assert re.search(OLD[word], text)


def test_what_is_allowed_is_there() -> None:
    for name, pattern in ALLOWED.items():
        assert re.search(pattern, (ROOT / name).read_text(encoding="utf-8")), name
