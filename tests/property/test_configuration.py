"""Any file, variable or option gives a configuration or a ConfigurationError, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hostile_settings import (
    KEYS,
    check_environment,
    check_file,
    check_refusal,
    load,
    names,
    texts,
    values,
    variable_texts,
    yaml_files,
)
from sales_mart.config import Config
from sales_mart.config.file import load_with_origins
from sales_mart.errors import ConfigurationError, NoSourceObjectError
from sales_mart.source.listing import find_objects
from sales_mart.steps.plan import sources

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config.keys import Key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configuration")


BOMB = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@settings(max_examples=50)
@given(data=yaml_files())
@example(data=BOMB.encode())
@example(data=b"a: &a\n  <<: *a\n")
@example(data=b"a: &a [*a]\n")
@example(data=b"<<: 1\n")
@example(data=b"data_lake: {path: !!bool x}\n")
@example(data=b"data_lake: {path: !!int ''}\n")
@example(data=b"data_lake: {path: !!timestamp x}\n")
@example(data=b"data_lake: {path: " + b"[" * 5000)
@example(data=b"ingestion: {validation: {min_price: '-0'}}\n")
@example(data=b"ingestion: {validation: {min_price: 0e-400}}\n")
@example(data=b"ingestion: {validation: {max_reject_share: .nan}}\n")
@example(data=b'ingestion: {validation: {product_prefix: "\\0"}}\n')
@example(data=b'ingestion: {validation: {product_prefix: "\\ud800"}}\n')
def test_any_file(folder: Path, data: bytes) -> None:
    check_file(folder, data)


@settings(max_examples=50)
@given(environ=st.dictionaries(names, variable_texts, max_size=4))
@example(environ={"SALES_MART_INGESTION": "[" * 100_000})
@example(environ={"SALES_MART_INGESTION": '{"validation":' * 2000})
@example(environ={"SALES_MART_DATA_LAKE__LAKE": "\udcff"})
def test_any_environment(environ: dict[str, str]) -> None:
    check_environment(environ)


@given(path=texts)
@example(path="x" * 5000)
@example(path="~nobody-of-this-name/c.yaml")
def test_any_name_of_a_file(path: str) -> None:
    try:
        load_with_origins(path or "x", None, {})
    except ConfigurationError as error:
        check_refusal(error)


@settings(max_examples=50)
@given(key=st.sampled_from(KEYS), value=values)
def test_any_option(key: Key, value: object) -> None:
    load(None, {key.dotted: value}, {"SALES_MART_CONFIG": ""})


@given(pattern=texts.filter(lambda text: not text.startswith("gs://")))
def test_any_source(folder: Path, pattern: str) -> None:
    try:
        find_objects(sources(Config(), f"{folder}/{pattern}"))
        if pattern.startswith("~"):
            find_objects([pattern])
    except (ConfigurationError, NoSourceObjectError):
        return
