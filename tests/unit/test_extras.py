"""What an installation without extras can do, and how it says what is missing.

The environment is made of links to what is installed here, so no package index is asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import sbom

from sales_mart.extras import need
from sales_mart.warehouses.base import names, warehouse_class

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
MOST_PACKAGES = 32
SALES = ROOT / "samples" / "transactions.csv"


class Done(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


class Environment:
    """A Python with sales_mart and what some of its extras bring, and nothing else."""

    def __init__(self, folder: Path, extras: frozenset[str]) -> None:
        """Make it of links."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        self.packages = sbom.packages(extras)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        for name in self.packages:
            distribution = metadata.distribution(name)
            tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
            for top in tops:
                link = site / top
                if not link.exists():
                    link.symlink_to(Path(str(distribution.locate_file(top))))

    def run(self, arguments: Sequence[str], folder: Path) -> Done:
        """Run this Python in a folder."""
        known = {
            name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ
        }
        done = subprocess.run(
            [self.python, "-W", "error", *arguments],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
            env={**known, "HOME": str(folder)},
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment without any extra."""
    return Environment(tmp_path_factory.mktemp("core"), frozenset())


@pytest.fixture(scope="module")
def sealed(core: Environment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Plan, validate and seal the sample without any extra; give the folder and the run."""
    folder = tmp_path_factory.mktemp("work")
    given = ["--source", str(SALES), "--business-date", "2023-10-05"]
    planned = core.run(["-m", "sales_mart", "plan", "--lake", "lake", *given, "-ojson"], folder)
    assert planned.code == 0, planned.err
    run_id = json.loads(planned.out)["run_id"]
    of_run = ["--lake", "lake", "--run-id", run_id, "-ojson"]
    validated = core.run(["-m", "sales_mart", "validate", *of_run], folder)
    assert validated.code == 0, validated.err
    assert json.loads(validated.out)["rows_valid"] == 4
    assert core.run(["-m", "sales_mart", "seal", *of_run], folder).code == 0
    return folder, run_id


def test_the_core_is_small_and_brings_neither_dbt_nor_a_driver(core: Environment) -> None:
    assert len(core.packages) <= MOST_PACKAGES, sorted(core.packages)
    heavy = ("dbt", "google", "psycopg", "duckdb", "hera", "pandas", "pgpq", "kubernetes")
    assert [each for each in core.packages if each.startswith(heavy)] == []


@pytest.mark.parametrize("module", ["dbt.cli", "google.cloud", "psycopg", "duckdb", "pandas"])
def test_the_environment_of_the_core_is_one(core: Environment, module: str, tmp_path: Path) -> None:
    done = core.run(["-c", f"import {module}"], tmp_path)
    assert (done.code, "ModuleNotFoundError" in done.err) == (1, True)


LIBRARY = """
import polars as pl
from sales_mart import Config, validate
from sales_mart.rows.tokens import Tokeniser
from pydantic import SecretStr

frame = pl.DataFrame({
    "transaction_id": ["T1", "T2"], "product": ["Tea", ""], "price": ["1.50", "2"],
    "quantity": ["1", "1"], "date": ["2023-10-01", "2023-10-01"],
})
tokens = Tokeniser(SecretStr("k" * 40))
result = validate(frame, Config(security={"algorithm": "sha256"}))
assert (result.rows_valid, result.counts) == (1, {"missing_product": 1})
assert result.valid["transaction_id"][0] == Tokeniser().token("T1")
named = frame.select(tokens.expression("transaction_id"))["transaction_id"].to_list()
assert named == [tokens.token("T1"), tokens.token("T2")]
"""


def test_frames_are_validated_and_tokenised_by_the_core(core: Environment, tmp_path: Path) -> None:
    done = core.run(["-c", LIBRARY], tmp_path)
    assert done == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["config", "show"]]
)
def test_commands_without_a_warehouse_need_no_extra(
    core: Environment, tmp_path: Path, arguments: list[str]
) -> None:
    assert core.run(["-m", "sales_mart", *arguments], tmp_path).code == 0


RUN = ["run", "--lake", "lake", "--source", str(SALES), "--business-date", "2023-10-05"]
LEFT_OUT = {
    **{f"run --target {name}": [*RUN, "--target", name] for name in names()},
    "run --dry-run": [*RUN, "--dry-run", "--target", "duckdb"],
    "run --local": [*RUN, "--local", "--data-dir", "here"],
    "local": ["local", "--data-dir", "here"],
    "plan in a bucket": ["plan", "--lake", "gs://lake", "--source", str(SALES)],
    "plan from a bucket": ["plan", "--lake", "lake", "--source", "gs://bucket/*.csv"],
    "plan on S3": ["plan", "--lake", "s3://lake", "--source", str(SALES)],
    "plan on Azure": ["plan", "--lake", "lake", "--source", "az://container/*.csv"],
}
BROUGHT_BY = {
    **{f"run --target {name}": f"pipeline-{name}" for name in names()},
    "run --dry-run": "pipeline-duckdb",
    "run --local": "local",
    "local": "local",
    "plan in a bucket": "gcs",
    "plan from a bucket": "gcs",
    "plan on S3": "s3",
    "plan on Azure": "azure",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_missing_is_said_with_the_command_that_installs_it(
    core: Environment, tmp_path: Path, name: str
) -> None:
    done = core.run(["-m", "sales_mart", *LEFT_OUT[name], "-ojson"], tmp_path)
    error = json.loads(done.out)["error"]
    assert done.code == error["exit_code"] == 2
    assert error["message"].endswith("is not installed")
    assert error["remedy"] == f'Run `pip install "sales-mart[{BROUGHT_BY[name]}]"`.'
    assert "Traceback" not in done.err
    assert not (tmp_path / "lake").exists()  # it is said before anything is done


@pytest.mark.parametrize("name", names())
def test_a_load_says_which_driver_is_missing(
    core: Environment, sealed: tuple[Path, str], name: str
) -> None:
    folder, run_id = sealed
    load = ["load", name, "--lake", "lake", "--run-id", run_id, "-ojson"]
    done = core.run(["-m", "sales_mart", *load], folder)
    error = json.loads(done.out)["error"]
    assert (done.code, error["remedy"]) == (2, f'Run `pip install "sales-mart[{name}]"`.')


def test_doctor_says_what_is_missing_and_goes_on(core: Environment, tmp_path: Path) -> None:
    done = core.run(["-m", "sales_mart", "doctor", "-ojson"], tmp_path)
    checks = {each["name"]: each for each in json.loads(done.out)["checks"]}
    assert done.code == 2
    assert {checks[name]["remedy"] for name in ("postgres", "bigquery")} == {
        'Run `pip install "sales-mart[postgres]"`.',
        'Run `pip install "sales-mart[bigquery]"`.',
    }
    assert "dbt-core (not installed)" in checks["versions"]["message"]


OPEN = """
from sales_mart import Config
from sales_mart.warehouses.base import open_warehouse
open_warehouse(Config(), "postgres")
"""
CAUGHT = """
from sales_mart import ConfigurationError
try:
    exec({!r})
except ConfigurationError as error:
    print(error.remedy)
"""


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import sales_mart.testing", "testing"),
        ("from sales_mart.workflows import daily", "workflows"),
        (OPEN, "postgres"),
    ],
)
def test_the_library_says_the_same(
    core: Environment, tmp_path: Path, code: str, extra: str
) -> None:
    done = core.run(["-c", CAUGHT.format(code)], tmp_path)
    assert done == (0, f'Run `pip install "sales-mart[{extra}]"`.\n', "")


def test_the_manifests_say_which_extra_writes_them(core: Environment, tmp_path: Path) -> None:
    done = core.run(["-m", "sales_mart.workflows"], tmp_path)
    assert done.code == 2
    assert json.loads(done.err)["remedy"] == 'Run `pip install "sales-mart[workflows]"`.'
    assert not (tmp_path / "manifests").exists()


def test_the_extra_of_the_workflow_is_enough_to_write_it(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment", frozenset({"workflows"}))
    done = environment.run(["-m", "sales_mart.workflows", "written"], tmp_path)
    assert done == (0, "", "")
    chart = ROOT / "charts" / "sales-mart" / "files"
    written = {each.name: each.read_text() for each in (tmp_path / "written").iterdir()}
    assert written == {each.name: each.read_text() for each in chart.iterdir()}


@pytest.mark.parametrize("name", names())
def test_the_extras_of_a_warehouse_bring_what_it_needs(name: str, tmp_path: Path) -> None:
    found = warehouse_class(name)
    for extra, modules in ((name, found.driver), (f"pipeline-{name}", found.adapter)):
        assert modules
        environment = Environment(tmp_path / extra, frozenset({extra}))
        code = "from sales_mart.extras import need; need('x', *{})"
        assert environment.run(["-c", code.format(modules)], tmp_path) == (0, "", "")
    assert not [each for each in sbom.packages(frozenset({name})) if each.startswith("dbt")]


def test_every_extra_is_documented() -> None:
    extras = set(metadata.metadata("sales-mart").get_all("Provides-Extra") or ())
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == extras


def test_the_numbers_of_packages_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `?([a-z0-9-]+)`? \| .* \| (\d+) \| [\d,]+ \|$", page, re.MULTILINE)
    told = {extra: int(count) for extra, count in rows if extra not in {"all", "kubernetes"}}
    found = {extra: len(sbom.packages(frozenset({extra}) - {"none"})) for extra in told}
    # Some stand in for what newer versions of Python have.
    assert found == {extra: pytest.approx(count, abs=3) for extra, count in told.items()}
    assert len(found) > len(names())


def test_a_module_below_one_that_is_missing_is_missing() -> None:
    from sales_mart import ConfigurationError

    with pytest.raises(ConfigurationError, match=r"no_such\.module"):
        need("postgres", "sales_mart.errors", "no_such.module")
