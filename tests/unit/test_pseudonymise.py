"""Tokens equal the standard library's, keys come from one place, and none is ever shown."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError
from sales_mart.rows.tokens import Tokeniser, tokeniser

if TYPE_CHECKING:
    from pathlib import Path

KEYED = Config.model_validate({"security": {"algorithm": "hmac-sha256"}})
KEY = "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6"
OTHER = KEY[::-1]
TEXTS = st.text().map(partial(unicodedata.normalize, "NFC"))
IDENTIFIERS = st.lists(st.none() | TEXTS, max_size=20)
KEYS = st.text(st.characters(codec="utf-8"), min_size=32, max_size=100)


def column(tokens: Tokeniser, values: list[str | None]) -> list[str | None]:
    frame = pl.DataFrame({"id": values}, schema={"id": pl.String})
    return frame.select(tokens.expression("id")).to_series().to_list()


@given(IDENTIFIERS)
def test_plain_tokens_are_the_sha256_of_utf8(values: list[str | None]) -> None:
    expected = [v if v is None else hashlib.sha256(v.encode()).hexdigest() for v in values]
    assert column(Tokeniser(), values) == expected
    assert [v if v is None else Tokeniser().token(v) for v in values] == expected


@given(IDENTIFIERS, KEYS)
def test_keyed_tokens_are_the_hmac_of_utf8(values: list[str | None], key: str) -> None:
    tokens = Tokeniser(SecretStr(key))
    expected = [
        v if v is None else hmac.new(key.encode(), v.encode(), hashlib.sha256).hexdigest()
        for v in values
    ]
    assert column(tokens, values) == expected
    assert [v if v is None else tokens.token(v) for v in values] == expected


def test_the_sample_token() -> None:
    expected = "e78d6e358171a045d54a628e52c664755d2003250e554d6490a2e3b5794d20a2"
    assert tokeniser(Config(), {}).token("T001") == expected


@pytest.mark.parametrize("text", [KEY, f"{KEY}\n"])
def test_the_key_comes_from_the_variable_or_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with_file = Config.model_validate(
        {"security": {"algorithm": "hmac-sha256", "key_file": str(path)}}
    )
    expected = Tokeniser(SecretStr(KEY))
    assert tokeniser(KEYED, {"PII_HASH_KEY": text}) == expected
    assert tokeniser(with_file, {}) == expected
    assert tokeniser(with_file, {"PII_HASH_KEY": OTHER}) != expected


def test_only_one_newline_is_removed() -> None:
    with pytest.raises(ConfigurationError, match="newline"):
        tokeniser(KEYED, {"PII_HASH_KEY": f"{KEY}\n\n"})


@pytest.mark.parametrize("environ", [{}, {"PII_HASH_KEY": ""}, {"PII_HASH_KEY": "secret" * 5}])
def test_without_a_good_key_nothing_is_made(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tokeniser(KEYED, environ)
    assert "PII_HASH_KEY" in caught.value.remedy
    assert "secretsecret" not in f"{caught.value} {caught.value.remedy}"


def test_a_key_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    path = tmp_path / "key"
    config = Config.model_validate(
        {"security": {"algorithm": "hmac-sha256", "key_file": str(path)}}
    )
    with pytest.raises(ConfigurationError, match="could not be read"):
        tokeniser(config, {})
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        tokeniser(config, {})


def test_key_ids_tell_keys_apart_and_give_none_away() -> None:
    one, two = Tokeniser(SecretStr(KEY)), Tokeniser(SecretStr(OTHER))
    assert Tokeniser().key_id == "sha256"
    assert one.key_id.startswith("hmac-sha256:")
    assert one.key_id != two.key_id
    assert KEY not in repr(one)
    assert KEY not in str(one.expression("id"))
