"""What people write first after `import sales_mart` works, or says the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

import sales_mart
from sales_mart.rows.tokens import tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6"
FRAME = pl.DataFrame({"email": ["ann@shop.example", None], "n": [1, 2]})


class Stream:
    """Has Arrow's C stream interface, and nothing else."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Give the stream."""
        return pa.table({"email": ["ann@shop.example"]}).__arrow_c_stream__(requested_schema)


def test_a_tokeniser_takes_its_key_as_text_or_bytes() -> None:
    for key in (KEY, KEY.encode()):
        token = sales_mart.Tokeniser(key).token("ann@shop.example")
        for data in (FRAME.head(1), Stream(), FRAME.head(1).to_dicts()):
            made = sales_mart.pseudonymise(data, "email", key=key, output="mappings")
            assert made[0]["email"] == token


def test_an_expression_makes_tokens_of_any_column() -> None:
    tokens = tokeniser(sales_mart.Config.model_validate({"security": {"algorithm": "sha256"}}))
    made = FRAME.select(tokens.expression("email"))["email"].to_list()
    assert made == [tokens.token("ann@shop.example"), None]


@pytest.mark.parametrize(
    ("snippet", "said"),
    [
        (lambda: sales_mart.load(FRAME, "postgre", table="t"), "did you mean postgres?"),
        (lambda: sales_mart.run(source=FRAME), "no lake is given"),
        (lambda: sales_mart.quarantine("lake"), "no lake is given"),
        (lambda: sales_mart.export(FRAME, "out.xlsx"), "no known format"),
        (lambda: sales_mart.validate(FRAME), "the frame lacks the columns transaction_id"),
        (lambda: sales_mart.validate([1]), "something else than mappings"),  # pyright: ignore[reportArgumentType]
        (lambda: sales_mart.pseudonymise(FRAME, "email"), "no key is given"),
        (lambda: sales_mart.pseudonymise(FRAME, "mail", key=KEY), "did you mean email?"),
    ],
)
def test_what_does_not_work_says_the_way(
    snippet: Callable[[], Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sales_mart.SalesMartError) as caught:
        snippet()
    assert said in str(caught.value)
    assert caught.value.remedy
