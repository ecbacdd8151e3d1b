"""Start-up stays quick because nothing heavy is imported before it is used.

Seconds differ from machine to machine, so what is counted is the imported libraries.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    *("dbt", "duckdb", "google.api_core", "google.auth", "google.cloud.bigquery", "grpc", "numpy"),
    *("kubernetes", "pandas", "pgpq", "polars", "polars_hash", "psycopg", "pyarrow", "requests"),
)


def _imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import sales_mart",
        "import sales_mart.errors",
        "from sales_mart import Config, load_config, SalesMartError; load_config(environ={})",
        "from sales_mart.cli import main; assert main(['--help']) == 0",
        "from sales_mart.cli import main; assert main(['load', '--help']) == 0",
        "from sales_mart.cli import main; assert main(['config', 'schema']) == 0",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert _imported(code).isdisjoint(HEAVY)


def test_import_of_the_package_loads_none_of_its_modules() -> None:
    imported = _imported("import sales_mart")
    assert {name for name in imported if name.startswith("sales_mart")} == {"sales_mart"}
    assert imported.isdisjoint({"pydantic", "typer", "rich", "yaml"})


def test_help_needs_no_validation_library() -> None:
    imported = _imported("from sales_mart.cli import main; main(['--help'])")
    assert imported.isdisjoint({"sales_mart.config", "pydantic_settings", "yaml"})


def test_every_public_name_can_be_had() -> None:
    import sales_mart

    for name in sales_mart.__all__:
        assert getattr(sales_mart, name) is not None
    assert set(sales_mart.__all__) <= set(dir(sales_mart))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sales_mart.nothing  # pyright: ignore[reportAttributeAccessIssue]
