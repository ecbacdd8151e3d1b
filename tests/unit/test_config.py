"""Configuration: what loads, what wins, and what the errors say."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from sales_mart import names
from sales_mart.cli import main
from sales_mart.config import Config
from sales_mart.config.file import load_config, load_with_origins
from sales_mart.config.keys import IGNORED_KEYS, keys, schema, section_of
from sales_mart.config.report import chart_values, effective, recommended, template
from sales_mart.config.texts import OWN_TABLES, is_own_table
from sales_mart.errors import ConfigurationError
from sales_mart.warehouses.postgres.session import LOCK_TABLE
from targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Path(__file__).parents[2] / "samples" / "pipeline_config.yaml"

Fails = "Callable[..., str]"


@pytest.fixture
def fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that loads a text and returns the message of the error."""
    monkeypatch.chdir(tmp_path)

    def load(text: str = "", environ: dict[str, str] | None = None, **overrides: object) -> str:
        Path("c.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError) as caught:
            load_config("c.yaml", overrides, environ or {})
        assert caught.value.exit_code == 2
        assert caught.value.remedy
        return caught.value.message

    return load


# --- what loads


def test_the_users_file_loads_unchanged() -> None:
    config = load_config(SAMPLE, environ={})
    assert config.ingestion.trust_input is True
    assert config.rules.min_price == Decimal("10.0")
    assert config.rules.product_prefix == "Halal"
    assert config.data_warehouse.postgres.secret_name == "postgres-credentials"
    assert config.data_warehouse.targets == (Target.POSTGRES, Target.BIGQUERY)
    assert config.sources == ("gs://hijra-transactions/raw/transactions/*.csv",)
    assert config.lake == "gs://hijra-transactions/sales-mart"
    assert config.security.algorithm == "sha256"
    assert config.orchestration.airflow_dag == "transaction_etl"


def test_every_key_of_the_users_file_is_kept_or_known_to_have_no_effect() -> None:
    written = yaml.safe_load(SAMPLE.read_text())
    config, origins = load_with_origins(SAMPLE, environ={})
    dumped = config.model_dump(mode="json", by_alias=True)

    def check(part: dict[str, Any], whole: dict[str, Any], path: str = "") -> None:
        for key, value in part.items():
            if f"{path}{key}" in IGNORED_KEYS:
                assert origins[f"{path}{key}"].startswith(f"{SAMPLE}:")
            elif isinstance(value, dict):
                check(value, whole[key], f"{path}{key}.")
            elif key == "min_price":
                assert Decimal(whole[key]) == Decimal(str(value))
            else:
                assert whole[key] == value

    check(written, dumped)


def test_nothing_at_all_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config, origins = load_with_origins(environ={})
    assert config == Config()
    assert set(origins.values()) == {"default"}
    Path("empty.yaml").write_text("# nothing\n")
    assert load_config("empty.yaml", environ={}) == Config()
    Path("empty.yaml").write_text("data_lake:\ningestion:\n  validation:\n")
    assert load_config("empty.yaml", environ={}) == Config()


def test_the_file_is_the_named_one_or_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pipeline_config.yaml").write_text("data_lake: {lake: here}")
    Path("other.yaml").write_text("data_lake: {lake: named}")
    assert load_config(environ={}).lake == "here"
    assert load_config(environ={"SALES_MART_CONFIG": "other.yaml"}).lake == "named"
    assert load_config(environ={"SALES_MART_CONFIG": ""}).lake == "here"
    assert load_config("pipeline_config.yaml", environ={"SALES_MART_CONFIG": "x"}).lake == "here"
    with pytest.raises(ConfigurationError, match=r"'x' does not exist \(from SALES_MART_CONFIG\)"):
        load_config(environ={"SALES_MART_CONFIG": "x"})
    with pytest.raises(ConfigurationError, match=r"'y' does not exist \(from --config\)"):
        load_config("y", environ={})


# --- what wins


def test_command_line_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "data_warehouse:\n  postgres:\n    host: file\n    dbname: file\n    secretName: file\n"
    )
    environ = {
        "SALES_MART_DATA_WAREHOUSE__POSTGRES__HOST": "environment",
        "SALES_MART_DATA_WAREHOUSE__POSTGRES__DBNAME": "environment",
    }
    overrides = {"data_warehouse.postgres.host": "command"}
    config, origins = load_with_origins(path, overrides, environ)
    postgres = config.data_warehouse.postgres
    assert (postgres.host, postgres.dbname) == ("command", "environment")
    assert (postgres.secret_name, postgres.port) == ("file", 5432)
    section = "data_warehouse.postgres"
    assert origins[f"{section}.host"] == "command line"
    assert origins[f"{section}.dbname"] == "SALES_MART_DATA_WAREHOUSE__POSTGRES__DBNAME"
    assert origins[f"{section}.secretName"] == f"{path}:5"
    assert origins[f"{section}.port"] == "default"


def test_overrides_may_be_nested() -> None:
    nested = {"data_warehouse": {"postgres": {"host": "h"}, "bigquery": {"location": "EU"}}}
    warehouse = load_config(SAMPLE, nested, {}).data_warehouse
    assert (warehouse.postgres.host, warehouse.postgres.dbname) == ("h", "mydb")
    assert warehouse.bigquery.location == "EU"


@pytest.mark.parametrize("spelling", ["SECRETNAME", "SECRET_NAME", "secretname"])
def test_an_alias_can_be_spelled_either_way_in_the_environment(spelling: str) -> None:
    environ = {f"SALES_MART_DATA_WAREHOUSE__POSTGRES__{spelling}": "x"}
    assert load_config(SAMPLE, environ=environ).data_warehouse.postgres.secret_name == "x"


def _some_other_value(dotted: str, default: object) -> str:
    special = {
        "security.algorithm": "hmac-sha256",
        "security.pii_fields": '["transaction_id"]',
        "orchestration.timezone": "Asia/Jakarta",
        "data_warehouse.targets": '["bigquery"]',
        "data_warehouse.postgres.sslmode": "require",
        "data_warehouse.postgres.load_streams": "3",
        "data_warehouse.postgres.secretName": "something-else",
        "ingestion.validation.required_fields": '["transaction_id", "date"]',
        "ingestion.trust_input": "true",
        "ingestion.attributes": '{"store": {"from": "Branch"}}',
        "ingestion.validation.max_reject_share": "0.5",
        "ingestion.validation.max_removed_share": "0.5",
        "data_warehouse.bigquery.maximum_bytes_billed": "7",
        "ingestion.format.type": "parquet",
        "ingestion.format.delimiter": ";",
        "ingestion.format.quote": "'",
        "ingestion.format.escape": "|",
        "ingestion.format.encoding": "cp1252",
        "ingestion.format.header": '["transaction_id", "product"]',
        "ingestion.format.decimal_separator": ",",
        "ingestion.format.thousands": " ",
        "ingestion.format.currency_sign": "€",
        "ingestion.format.date_format": "%d.%m.%Y",
        "ingestion.format.timezone": "Asia/Jakarta",
        "ingestion.format.jagged_rows": "true",
        "ingestion.columns": '{"product": {"from": "Item"}}',
        "ingestion.validation.quantity_decimals": "3",
        "ingestion.validation.rounding": "half_up",
        "ingestion.validation.allow_returns": "true",
    }
    number = isinstance(default, int | Decimal)
    return special.get(dotted, "7" if number else "something_else")


@pytest.mark.parametrize("key", keys().values(), ids=lambda key: key.dotted)
def test_every_key_can_be_set_from_the_environment(key: Any) -> None:
    text = _some_other_value(key.dotted, key.value(Config()))
    config, origins = load_with_origins(SAMPLE, environ={key.variable: text})
    assert origins[key.dotted] == key.variable
    if key.dotted != "security.pii_fields":
        assert key.value(config) != key.value(Config())


def test_a_section_as_json_and_one_key_of_it_beside() -> None:
    environ = {
        "SALES_MART_INGESTION": '{"trust_input": false, "validation": {"max_quantity": 5}}',
        "SALES_MART_INGESTION__VALIDATION__MAX_QUANTITY": "6",
    }
    config = load_config(SAMPLE, environ=environ)
    assert config.ingestion.trust_input is False
    assert config.rules.max_quantity == 6
    assert config.rules.product_prefix == "Halal"


OLD_LOCK_TIMEOUT = "data_warehouse: {postgres: {port: 5433, lock_timeout: 7}}\n"


def test_the_old_name_of_the_lock_timeout_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(OLD_LOCK_TIMEOUT)
    variable = "SALES_MART_DATA_WAREHOUSE__POSTGRES__LOCK_TIMEOUT"
    for environ, overrides, seconds, origin in (
        ({}, {}, 7, "c.yaml:1"),
        ({variable: "8"}, {}, 8, variable),
        ({variable: "8"}, {"data_warehouse.lock_timeout": 9}, 9, "command line"),
    ):
        config, origins = load_with_origins(path, overrides, environ)
        assert config.data_warehouse.lock_timeout == seconds
        assert config.data_warehouse.postgres.port == 5433
        assert origins["data_warehouse.lock_timeout"].endswith(origin)
    old = {"data_warehouse": {"postgres": {"lock_timeout": 7}}}
    assert Config.model_validate(old).data_warehouse.lock_timeout == 7
    assert old == {"data_warehouse": {"postgres": {"lock_timeout": 7}}}


def test_what_kubernetes_sets_for_a_service_is_not_ours() -> None:
    environ = {"SALES_MART_PORT": "tcp://10.0.0.1:80", "SALES_MART_SERVICE_HOST": "10.0.0.1"}
    assert load_config(SAMPLE, environ=environ) == load_config(SAMPLE, environ={})


# --- what the errors say

UNKNOWN = """\
c.yaml:3: data_warehouse.postgres.hots is not a key; did you mean data_warehouse.postgres.host? \
The keys of data_warehouse.postgres are: secretName, dbname, host, port, user, password, sslmode, \
connect_timeout, statement_timeout, load_streams, application_name"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_warehouse:\n  postgres:\n    hots: x\n", UNKNOWN),
        (
            "ingestion:\n  validation:\n    max_quantity: many\n",
            "c.yaml:3: ingestion.validation.max_quantity: must be a whole number",
        ),
        (
            "ingestion: {validation: {max_quantity: 0}}\n",
            (
                "c.yaml:1: ingestion.validation.max_quantity: found 0; must be greater than or "
                "equal to 1"
            ),
        ),
        (
            "security:\n  algorithm: hmac_sha256\n",
            (
                "c.yaml:2: security.algorithm: found 'hmac_sha256'; must be 'sha256' or "
                "'hmac-sha256'; did you mean hmac-sha256?"
            ),
        ),
        (
            "security: {pii_fields: [transaction_id, product]}\n",
            (
                "c.yaml:1: security.pii_fields: can name transaction_id and attributes: the rules "
                "of the other columns cannot look into a token"
            ),
        ),
        (
            "ingestion:\n  validation:\n    required_fields: [product]\n",
            (
                "c.yaml:3: ingestion.validation.required_fields: transaction_id and date "
                "must be in "
                "it: a row without an identifier cannot be told from another, and one "
                "without a date "
                "belongs to no day"
            ),
        ),
        (
            "ingestion:\n  validation: {required_fields: [produkt]}\n",
            (
                "c.yaml:2: ingestion.validation.required_fields: found 'produkt'; must be "
                "'transaction_id', 'product', 'price', 'quantity' or 'date'; did you mean product?"
            ),
        ),
        (
            "ingestion: {validation: {product_prefix: No}}\n",
            (
                "c.yaml:1: ingestion.validation.product_prefix: found No, which YAML "
                "reads as true or "
                "false; put it in quotes if it is meant as text"
            ),
        ),
        (
            "data_lake: 5\n",
            (
                "c.yaml:1: data_lake must be a section with keys: gcs_bucket, path, source, lake, "
                "ready_marker, minimum_age"
            ),
        ),
        (
            "data_lake:\n  path: {a: 1}\n",
            "c.yaml:2: data_lake.path must be a single value, not a section",
        ),
        (
            "data_lake:\n  path: a\n  path: b\n",
            "c.yaml:3: data_lake.path is already set in line 2",
        ),
        ("- 1\n", "c.yaml:1: the file must be a mapping of sections"),
        ("a: b: c\n", "c.yaml:1: not YAML: mapping values are not allowed here"),
        (
            "orchestration: {timezone: Mars/Phobos}\n",
            (
                "c.yaml:1: orchestration.timezone: must be a time zone of the IANA database, such "
                "as 'Asia/Jakarta'"
            ),
        ),
        (
            "data_warehouse: {dataset: 'a; drop table b'}\n",
            (
                "c.yaml:1: data_warehouse.dataset: must be a name of up to 57 letters, digits and "
                "underscores, no digit first"
            ),
        ),
        (
            "data_mart: {postgres_schema: pg_mart}\n",
            (
                "c.yaml:1: data_mart.postgres_schema: must not start with 'pg_', which "
                "PostgreSQL reserves"
            ),
        ),
        (
            "data_warehouse: {targets: [postgres, oracle]}\n",
            "c.yaml:1: data_warehouse.targets: must be 'postgres', 'bigquery' or 'duckdb'",
        ),
        (
            "data_warehouse: {dataset: public}\n",
            "data_mart.postgres_schema and data_warehouse.dataset must differ: 'public' is private",
        ),
    ],
)
def test_message(fails: Callable[..., str], text: str, message: str) -> None:
    assert fails(text) == message


@pytest.mark.parametrize(
    "name",
    [
        *OWN_TABLES,
        *("Load_Runs", "load_runs_pkey", "target_lock", "sales_by_product_month_sale_month"),
        *("staging_0a1b2c", "stg_transactions__dbt_tmp", "x__DBT_backup"),
    ],
)
def test_the_raw_table_has_no_name_of_ours(fails: Callable[..., str], name: str) -> None:
    message = f"data_warehouse.table must not be {name!r}: the pipeline makes tables of such names"
    assert message in fails(f"data_warehouse: {{table: {name}}}\n")


def test_the_reserved_names_are_those_that_are_made() -> None:
    made = {names.LOAD_RUNS, names.PUBLICATIONS, names.STAGING, names.PRODUCT_MONTHS, LOCK_TABLE}
    assert all(map(is_own_table, made))
    for free in ("raw_transactions", "staging_transactions", "transactions", "loads"):
        assert Config.model_validate({"data_warehouse": {"table": free}})


@pytest.mark.parametrize("name", ["information_schema", "INFORMATION_SCHEMA", "PG_toast"])
@pytest.mark.parametrize(
    "key", ["data_warehouse.dataset", "data_mart.dataset", "data_mart.postgres_schema"]
)
def test_schemas_of_the_server_are_refused(fails: Callable[..., str], key: str, name: str) -> None:
    section, _, last = key.partition(".")
    assert f"{key}: must not " in fails(f"{section}: {{{last}: {name}}}\n")


@pytest.mark.parametrize("raw", ["shown", "SHOWN", "shown__next", "Shown__NEXT"])
@pytest.mark.parametrize("key", ["dataset", "postgres_schema"])
def test_raw_rows_stand_in_no_schema_of_the_marts(
    fails: Callable[..., str], key: str, raw: str
) -> None:
    text = f"data_warehouse: {{dataset: {raw}}}\ndata_mart: {{{key}: shown}}\n"
    assert f"data_mart.{key} and data_warehouse.dataset must differ" in fails(text)


def test_a_key_in_the_wrong_section_is_found_in_the_right_one(fails: Callable[..., str]) -> None:
    assert "did you mean ingestion.validation.min_price?" in fails("ingestion: {min_price: 5}\n")


def test_all_problems_are_told_at_once(fails: Callable[..., str]) -> None:
    ingestion = "{trust_input: maybe, validation: {max_quantity: 0}}"
    text = f"data_lake: {{lak: x}}\ningestion: {ingestion}\nsecurity: {{x: 1}}\n"
    message = fails(text)
    assert [line.split(":")[1] for line in message.splitlines()] == ["1", "3", "2", "2"]


def test_many_problems_are_cut_short(fails: Callable[..., str]) -> None:
    message = fails("".join(f"key{number}: x\n" for number in range(30)))
    assert len(message.splitlines()) == 11
    assert message.endswith("and 20 more")


def test_problems_of_the_environment_name_the_variable(fails: Callable[..., str]) -> None:
    name = "SALES_MART_DATA_WAREHOUSE__POSTGRES__PORT"
    expected = f"{name}: data_warehouse.postgres.port: must be a whole number"
    assert fails(environ={name: "abc"}) == expected
    unknown = fails(environ={"SALES_MART_DATA_WAREHUSE__TABLE": "x"})
    assert "did you mean data_warehouse?" in unknown
    name = "SALES_MART_DATA_WAREHOUSE__TARGETS"
    expected = f"{name}: a list or a section is written as JSON in the environment"
    assert fails(environ={name: "postgres"}) == expected
    assert fails(**{"data_lake.lak": "x"}).startswith("command line: data_lake.lak is not a key")


@pytest.mark.parametrize(
    "text",
    [
        "data_warehouse: {postgres: {password: [s3cret]}}\n",
        "data_warehouse: {postgres: {password: {s3cret: s3cret}}}\n",
        "data_warehouse: {postgres: {passwort: s3cret}}\n",
        "data_warehouse: {postgres: {password: s3cret, port: x}}\n",
        "data_warehouse: {postgres: {password: s3cret}, dataset: public}\n",
        "security: {hash_key: s3cret}\n",
        "data_warehouse: {postgres: {sslmode: s3cret}}\n",
        "data_warehouse: {postgres: {port: s3cret}}\n",
        "data_warehouse: {postgres: {secretName: 's3cret of ours'}}\n",
        "data_warehouse: {dataset: 's3cret of ours'}\n",
        "security: {algorithm: s3cret}\n",
    ],
)
def test_no_message_shows_a_secret(fails: Callable[..., str], text: str) -> None:
    assert "s3cret" not in fails(text)


HOSTILE = {
    "alias bomb": "a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n"
    + "".join(
        f"{c}: &{c} [{','.join(['*' + p] * 8)}]\n" for p, c in zip("bcdefg", "cdefgh", strict=True)
    ),
    "circle": "data_lake: &a\n  path: *a\n",
    "circle of lists": "data_lake:\n  path: &a [*a]\n",
    "deep lists": "[" * 5000,
    "deep sections": "".join(f"{' ' * n}a:\n" for n in range(200)),
    "python object": "data_lake: {path: !!python/object/apply:os.system [id]}\n",
    "unknown tag": "data_lake: {path: !x y}\n",
    "list as a key": "? [a, b]\n: x\n",
    "section as a key": "? {a: b}\n: x\n",
    "number as a key": "1: 2\n",
    "not a date": "orchestration: {schedule: 2023-13-45}\n",
    "date for text": "data_lake: {path: 2023-10-01}\n",
    "infinite": "ingestion: {validation: {min_price: .inf}}\n",
    "not a number": "ingestion: {validation: {max_reject_share: .nan}}\n",
    "huge": "ingestion: {validation: {min_price: 1e400}}\n",
    "boolean for a number": "ingestion: {validation: {max_quantity: yes}}\n",
    "fraction for a number": "ingestion: {validation: {max_quantity: 1.5}}\n",
    "null for text": "data_lake: {path: null}\n",
    "two documents": "data_lake: {path: a}\n---\ndata_lake: {path: b}\n",
    "newline in a name": 'data_warehouse: {dataset: "a\\n"}\n',
    "tab": "data_lake:\n\tpath: a\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_in_words(fails: Callable[..., str], text: str) -> None:
    message = fails(text)
    assert message
    assert len(message) < 5000


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not text in UTF-8"):
        load_config(path, environ={})
    path.write_bytes(b"# " + b"x" * 2_000_000)
    with pytest.raises(ConfigurationError, match="bytes, too many for a configuration"):
        load_config(path, environ={})


def test_text_that_looks_like_a_number_stays_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "data_mart: {export: 1.10}\nkubernetes: {resources: {cpu: 1}}\n"
        "data_warehouse: {postgres: {dbname: 007, password: 0123}}\n"
    )
    config = load_config(path, environ={})
    assert config.data_mart.export == "1.10"
    assert config.kubernetes.resources.cpu == "1"
    assert config.data_warehouse.postgres.dbname == "007"
    password = config.data_warehouse.postgres.password
    assert password is not None
    assert password.get_secret_value() == "0123"


def test_aliases_and_merges_of_yaml_work(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data_lake: &x {path: p}\n")
    assert load_config(path, environ={}).data_lake.path == "p"
    path.write_text("ingestion:\n  validation:\n    <<: {max_quantity: 5}\n    max_decimals: 3\n")
    assert load_config(path, environ={}).rules.max_quantity == 5


# --- the algorithm


def test_a_file_without_an_algorithm_warns_and_says_why(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    logging.getLogger("sales_mart").propagate = True
    with caplog.at_level(logging.WARNING, "sales_mart"):
        load_config(SAMPLE, environ={})
        assert "enumerate" in caplog.text
        caplog.clear()
        path = tmp_path / "c.yaml"
        path.write_text("security: {algorithm: sha256}\n")
        load_config(path, environ={})
        load_config(SAMPLE, environ={"SALES_MART_SECURITY__ALGORITHM": "hmac-sha256"})
    assert caplog.text == ""


# --- what is shown and written


def test_init_writes_what_is_recommended(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(template())
    assert recommended().security.algorithm == "hmac-sha256"
    assert recommended().rules.max_reject_share == 0.2
    assert Config().rules.max_reject_share == 1.0
    assert load_config(path, environ={}) == recommended()
    assert all(len(line) <= 100 for line in template().splitlines())
    for key in keys().values():
        assert f" {key.path[-1]}:" in template(), key.dotted
    assert "fastapi_endpoint" not in template()


def test_what_init_comments_out_can_be_commented_in(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(template().replace("  # gcs_bucket:", "  gcs_bucket: b"))
    assert load_config(path, environ={}).sources == ("gs://b/raw/transactions/*.csv",)


def test_show_redacts_secrets_and_tells_origins() -> None:
    environ = {"SALES_MART_DATA_WAREHOUSE__POSTGRES__PASSWORD": "s3cret"}
    rows = effective(*load_with_origins(SAMPLE, environ=environ))
    assert "s3cret" not in json.dumps(rows)
    by_key = {row["key"]: row for row in rows}
    assert by_key["data_warehouse.postgres.password"]["value"] == "**********"
    assert by_key["ingestion.validation.min_price"]["value"] == "10.0"
    assert by_key["data_warehouse.targets"]["value"] == ["postgres", "bigquery"]
    assert by_key["ingestion.batch_size"]["effect"] == "none"
    assert by_key["orchestration.schedule"]["effect"] == "chart"
    assert set(by_key) == {key.dotted for key in keys().values()} | set(IGNORED_KEYS)


def test_a_key_without_effect_takes_any_value_and_is_shown_where_it_is_given(
    tmp_path: Path,
) -> None:
    name = "SALES_MART_INGESTION__BATCH_SIZE"
    environ = {name: "many", "SALES_MART_DATA_MART": '{"table": {"x": null}}'}
    path = tmp_path / "c.yaml"
    path.write_text("pipeline: {name: }\ntransformation: {models: {a: [b]}}\n")
    config, origins = load_with_origins(path, {"kubernetes.helm_chart": 7}, environ)
    assert config == Config()
    shown = {row["key"]: row for row in effective(config, origins) if row["effect"] == "none"}
    assert {row["value"] for row in shown.values()} == {None}
    assert {key: row["origin"] for key, row in shown.items()} == {
        "pipeline.name": f"{path}:1",
        "transformation.models": f"{path}:2",
        "kubernetes.helm_chart": "command line",
        "ingestion.batch_size": name,
        "data_mart.table": "SALES_MART_DATA_MART",
    }


def test_the_schema_describes_the_keys_without_effect_too() -> None:
    document = yaml.safe_load(SAMPLE.read_text())
    described = schema()
    for dotted in IGNORED_KEYS:
        section, _, name = dotted.partition(".")
        assert name in document[section], dotted
        definition = described["properties"][section]["$ref"].rpartition("/")[2]
        assert described["$defs"][definition]["properties"][name]["effect"] is False


def test_a_misspelt_key_without_effect_is_found(fails: Callable[..., str]) -> None:
    said = fails("pipeline: {nam: x}\n")
    assert "pipeline.nam is not a key; did you mean pipeline.name?" in said
    assert "The keys of pipeline are: name, version" in said
    assert "did you mean ingestion.batch_size?" in fails("pipeline: {batch_sizes: 1}\n")
    assert "must be a section with keys: name, version" in fails("pipeline: x\n")


MISPLACED = """\
data_warehouse:
  postgres: {password: s3cret}
  bigquery: {credentials_file: s3cret, location: EU}
security: {algorithm: hmac-sha256, key_file: s3cret}
"""


@pytest.mark.parametrize(
    "command", [("show",), ("show", "-o", "json"), ("values",), ("values", "-o", "json")]
)
def test_a_secret_in_place_of_its_file_is_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(MISPLACED)
    assert main(["config", *command, "--config", str(path)]) == 0
    out, err = capfd.readouterr()
    assert "s3cret" not in out + err
    assert "hmac-sha256" in out


def test_what_pods_have_elsewhere_is_no_part_of_the_chart_s_values(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(MISPLACED)
    assert chart_values(load_config(path, environ={}))["config"] == {
        "data_warehouse": {"postgres": {}, "bigquery": {"location": "EU"}},
        "security": {"algorithm": "hmac-sha256"},
        # The chart's own values must not get into a file that names none.
        "ingestion": {"validation": {"max_reject_share": 1.0, "max_removed_share": 1.0}},
    }


@pytest.mark.parametrize("name", ["a", "pg.prod-1", "", "0" * 253])
def test_a_secret_s_name_is_one_of_kubernetes(name: str) -> None:
    given = {"data_warehouse": {"postgres": {"secretName": name}}}
    assert load_config(SAMPLE, given, {}).data_warehouse.postgres.secret_name == name


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a..b", ".a", "a\n", "0" * 254, "é"])
def test_a_secret_s_name_that_kubernetes_does_not_take_is_refused(
    fails: Callable[..., str], name: str
) -> None:
    variable = "SALES_MART_DATA_WAREHOUSE__POSTGRES__SECRETNAME"
    expected = "must be the name of a Kubernetes secret, such as 'postgres-credentials'"
    assert fails(environ={variable: name}).endswith(f"postgres.secretName: {expected}")


def test_every_key_is_described_and_its_effect_is_said() -> None:
    for key in keys().values():
        assert key.description.endswith("."), key.dotted
        assert "No effect" not in key.description, key.dotted
    for field in Config.model_fields.values():
        assert section_of(field) is not None
        assert field.description


def test_chart_values_come_from_the_file() -> None:
    environ = {"SALES_MART_DATA_WAREHOUSE__POSTGRES__PASSWORD": "s3cret"}
    values = chart_values(load_config(SAMPLE, environ=environ))
    assert "s3cret" not in json.dumps(values)
    assert values["namespace"] == "data-pipeline"
    assert values["fullnameOverride"] == "transaction-etl"
    assert values["workflow"] == {"schedule": "0 0 * * *", "timezone": "UTC"}
    assert values["resources"] == {"limits": {"cpu": "1", "memory": "2Gi"}}
    assert values["postgres"] == {"secretName": "postgres-credentials"}


def test_the_digest_follows_what_shapes_a_run_only() -> None:
    base = load_config(SAMPLE, environ={})
    same = load_config(SAMPLE, {"data_warehouse.postgres.host": "x"}, {})
    other = load_config(SAMPLE, {"ingestion.trust_input": False}, {})
    assert base.digest == same.digest != other.digest


CANARY = "Canaryaslongasakeythathasfortyletters123"


@pytest.mark.parametrize(
    "text",
    [
        "data_warehouse: {postgres: {host: 'db password=%s'}}",
        "data_warehouse: {postgres: {dbname: 'sales PASSWORD = %s'}}",
        "data_warehouse: {postgres: {dbname: 'postgresql:///x?password=%s'}}",
        "data_lake: {source: 'https://me:%s@shop/x.csv'}",
        "data_lake: {source: 's3://shop/x.csv?X-Amz-Date=1&X-Amz-Signature=%s'}",
        "data_lake: {lake: 'az://account/lake?sv=1&sig=%s'}",
        "data_mart: {export: 'ftp://me:%s@shop/x'}",
        "data_warehouse: {postgres: {password:%s}}",
        "data_warehouse: {%s: x}",
        "security: {%s: true}",
        "security: {algorithm: %s}",
        "security: {pii_fields: [%s]}",
        "security: {pii_fields: [transaction_id, %s]}",
        "ingestion: {columns: {%s: Item}}",
        "ingestion: {columns: {price: {%s: Item}}}",
        "ingestion: {format: {encoding: %s}}",
        "ingestion: {format: {date_format: %s}}",
        "ingestion: {format: {timezone: %s}}",
        "%s",
        "- %s",
    ],
)
def test_a_secret_in_a_wrong_place_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text.replace("%s", CANARY))
    with pytest.raises(ConfigurationError) as caught:
        load_config(path, environ={})
    said = f"{caught.value} {caught.value.remedy} {caught.value.details}"
    assert CANARY not in said
    assert "c.yaml" in said


@pytest.mark.parametrize(
    "text",
    [
        "data_lake: {source: in.csv}",
        "data_lake: {source: [a.csv, b.csv]}",
        "ingestion: {columns: {product: Item, transaction_id: [Order, {any_of: [Line, Pos]}]}}",
        "ingestion: {columns: {price: {from: Cents, scale: 0.01}}, attributes: {store: Branch}}",
        "ingestion: {format: {null_values: N/A, date_format: ['%d.%m.%Y', '%Y-%m-%d']}}",
    ],
)
def test_the_schema_takes_what_a_file_may_say(tmp_path: Path, text: str) -> None:
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(text))
    path = tmp_path / "c.yaml"
    path.write_text(text)
    load_config(path, environ={})


def test_an_at_sign_or_a_query_is_no_login() -> None:
    for place in (
        "gs://bucket/of@day/{date}.csv",
        "in/a?c*.csv",
        "in/me@home.csv",
        "gs://b/x?.csv",
    ):
        environ = {"SALES_MART_DATA_LAKE__SOURCE": place, "SALES_MART_DATA_LAKE__LAKE": "l@ke"}
        assert load_config(environ=environ).sources == (place,)
