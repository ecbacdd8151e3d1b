"""Hypothesis strategies for transactions, right and wrong, to test your own code with.

Needs the extra `testing`: `pip install "sales-mart[testing]"`.

Example:
    ```python
    from hypothesis import given
    from sales_mart.testing import raw_rows

    @given(raw_rows())
    def test_my_form_never_crashes(row):
        my_form(row)
    ```
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from sales_mart.config import Config, Validation
from sales_mart.extras import need
from sales_mart.rows.characters import WHITE_SPACE, holds_invisible
from sales_mart.rows.transaction import Transaction, check
from sales_mart.schema import FIELDS, schema_of

try:
    from hypothesis import strategies as st
except ImportError:
    need("testing", "hypothesis")
    raise

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["configs", "dirty_rows", "raw_rows", "transactions"]

_DIGITS = 18
_EMPTY = (None, "", " ", "\t\u3000", "\u0085\u2028")
_ALMOST_SPACE = "\u200b\ufeff\x1c\u180e"
_WRONG = {
    "product": ("Monitor", "halal Mouse", "HALAL", "\u200bHalal", "Hala"),
    "price": (
        *("abc", "-1", "+20", "1e3", "20.", ".5", ".", "1,000", "1_000", "0x10", "NaN", "inf"),
        *("0", "0.00", "000", "0.001", "1.234", "9.999999999999999999999", "2\u0660.5", "\uff12"),
        *("1" + "0" * 15, "1" + "0" * 18, "9" * 40, "0" * 40 + "20.5", "20 .5", "--", "\u00bd"),
    ),
    "quantity": (
        *("two", "-1", "+1", "1.0", "1e2", "0", "00", "1_0", "1 0", "\u0663", "\u00b2", "\uff11"),
        *(str(2**31), str(2**63 - 1), str(2**63), "9" * 30, "0" * 30 + "7"),
    ),
    "date": (
        *("2023-02-29", "1900-02-29", "2023-13-01", "2023-00-10", "2023-01-00", "2023-04-31"),
        *("0000-01-01", "2023-1-05", "20230105", "2023-W01-1", "2023/01/05", "01-05-2023"),
        *("2023-10-01T00:00", "+2023-1-01", "2023-10-0\u0661", "12023-01-01", " 023-01-01"),
    ),
}
"""Near misses, and what other parsers would take."""
_BAD_BYTES = (b'"', b'""', b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b",", b"\n", b"\r\n", b"\r")


def transactions(config: Config | None = None) -> SearchStrategy[Transaction]:
    """Generate valid transactions.

    Args:
        config: The rules; default: those of an empty configuration. Fields that they do not
            require may be None.

    Example:
        ```python
        @given(transactions())
        def test_an_amount_is_positive(transaction):
            assert transaction.price * transaction.quantity > 0
        ```
    """
    rules = config or Config()
    return _valid_rows(rules).map(lambda row: Transaction.model_validate(row, context=rules))


def raw_rows(config: Config | None = None) -> SearchStrategy[dict[str, str | None]]:
    """Generate rows of text as a form or a file gives them: valid, with one fault, or far off.

    Use `transaction.check` to tell which rows are valid, and why the others are not.

    Args:
        config: The rules; default: those of an empty configuration.

    Example:
        ```python
        @given(raw_rows())
        def test_a_row_has_known_reasons(row):
            assert set(check(row)) <= set(REASONS)
        ```
    """
    rules = config or Config()
    fields = schema_of(rules).fields
    valid = {name: _padded(_valid_field(name, rules)) for name in fields}
    raw = {name: _raw_field(name, rules) for name in fields}
    one_fault = [st.fixed_dictionaries({**valid, name: raw[name]}) for name in fields]
    return st.one_of(_valid_rows(rules), *one_fault, st.fixed_dictionaries(raw))


def dirty_rows(config: Config | None = None) -> SearchStrategy[bytes]:
    r"""Generate CSV records as bytes, without a line end, in the order of `schema.FIELDS`.

    Among them are valid ones, ragged ones, stray and open quotes, NULs, bytes that are no UTF-8,
    line ends within quotes, Unicode spaces and digits, and noise.

    Example:
        ```python
        @given(st.lists(dirty_rows()))
        def test_my_reader_never_crashes(rows):
            my_reader(b"transaction_id,product,price,quantity,date\n" + b"\n".join(rows))
        ```
    """
    return _dirty_row(raw_rows(config))


@st.composite
def configs(draw: DrawFn) -> Config:
    """Generate valid configurations that differ in their rules, each with valid transactions.

    Example:
        ```python
        @given(st.data())
        def test_under_any_rules(data):
            config = data.draw(configs())
            row = data.draw(raw_rows(config))
        ```
    """
    decimals = draw(st.sampled_from((2, 0, 1, 3, 9)))
    highest_price = Decimal(10**_DIGITS - 1).scaleb(-decimals)
    places = draw(st.integers(0, 12))
    lowest_prices = st.one_of(
        # The highest is no `just`, which takes no choice and so would count as the simplest.
        st.sampled_from(
            (Decimal(0), Decimal(10), Decimal("9.995"), Decimal("1E+2"), highest_price)
        ),
        st.integers(0, 10**9).map(lambda units: Decimal(units).scaleb(-places)),
    )
    optional = draw(st.sets(st.sampled_from(FIELDS[1:4])))
    rules = {
        "min_price": draw(lowest_prices),
        "max_quantity": draw(st.sampled_from((100, 1, 7, 1_000_000_000))),
        "required_fields": tuple(name for name in FIELDS if name not in optional),
        "product_prefix": draw(
            st.sampled_from(("Halal", "", "Halal ", 'a"b', "x,\n", "\u00c9(.*"))
        ),
        "max_decimals": decimals,
    }
    return Config.model_validate(
        {
            "ingestion": {
                "trust_input": draw(st.booleans()),
                "validation": Validation.model_validate(rules),
            }
        }
    )


def _valid_rows(config: Config) -> SearchStrategy[dict[str, str | None]]:
    accepted = {name: each.accepted for name, each in schema_of(config).by_field.items()}

    def field(name: str) -> SearchStrategy[str | None]:
        valid = _padded(_valid_field(name, config))
        if name in config.rules.required_fields or accepted.get(name):
            return valid
        return st.one_of(valid, st.sampled_from(_EMPTY))

    rows = st.fixed_dictionaries({name: field(name) for name in schema_of(config).fields})
    return rows.filter(lambda row: not check(row, config))


def _valid_field(name: str, config: Config) -> SearchStrategy[str]:
    rules = config.rules
    zeros = st.sampled_from(("", "", "", "0", "000"))
    if name == "transaction_id":
        # Few of them, so that rows of one list share some.
        return st.one_of(
            st.integers(1, 30).map("T{:03}".format),
            _text().map("T{}".format).filter(lambda text: not holds_invisible(text)),
        )
    if name == "product":
        return _text().map(lambda text: f"{rules.product_prefix}{text}p")
    if name == "price":
        scale = 10**rules.max_decimals
        lowest = max(1, -int(-rules.min_price * scale // 1))
        highest = 10**_DIGITS - 1
        units = st.one_of(
            st.integers(lowest, min(lowest + 100 * scale, highest)), st.integers(lowest, highest)
        )
        decimals = -rules.max_decimals
        prices = units.map(lambda each: f"{Decimal(each).scaleb(decimals):f}")
        return st.tuples(zeros, prices).map("".join)
    if name == "quantity":
        return st.tuples(zeros, st.integers(1, rules.max_quantity).map(str)).map("".join)
    column = schema_of(config).by_field[name]
    if column.accepted:
        return st.sampled_from(column.accepted)
    scale = column.scale
    by_kind: dict[str, SearchStrategy[str]] = {
        "text": _text().filter(lambda text: bool(text.strip(WHITE_SPACE))),
        "integer": st.integers(-(2**63), 2**63 - 1).map(str),
        "decimal": st.integers(-(10**20), 10**20).map(lambda n: f"{Decimal(n).scaleb(-scale):f}"),
        "boolean": st.sampled_from(("true", "false", "TRUE", "False")),
        "date": st.dates(date(1, 1, 1)).map(date.isoformat),
    }
    return by_kind[column.kind]


def _raw_field(name: str, config: Config) -> SearchStrategy[str | None]:
    valid = _valid_field(name, config)
    wrong = list(_WRONG.get(name, ("T1", "t1", "T\u00e91", "Te\u03011", "T\u200b1", "\x1f")))
    if name == "price":
        wrong.append(f"{max(1, config.rules.min_price):.{config.rules.max_decimals + 1}f}")
    if name == "quantity":
        wrong.append(str(config.rules.max_quantity + 1))
    return st.one_of(
        _padded(valid),
        _padded(st.sampled_from(wrong)),
        st.sampled_from(_EMPTY),
        _padded(valid, _ALMOST_SPACE),
        _padded(_text()),
    )


def _text() -> SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def _padded(texts: SearchStrategy[str], spaces: str = WHITE_SPACE) -> SearchStrategy[str]:
    pad = st.one_of(st.just(""), st.just(""), st.sampled_from(spaces))
    return st.tuples(pad, texts, pad).map("".join)


@st.composite
def _dirty_row(draw: DrawFn, rows: SearchStrategy[dict[str, str | None]]) -> bytes:
    if draw(st.integers(0, 19)) == 19:  # noqa: PLR2004 - one row in twenty is noise
        return draw(st.binary(max_size=30))
    row = draw(rows)
    fields = [_cell(draw, text or "") for text in row.values()]
    if draw(st.integers(0, 9)) == 9:  # noqa: PLR2004 - one row in ten is ragged
        fields = draw(
            st.one_of(st.just(fields[:-1]), st.just([*fields, b"more"]), st.just(fields[:1]))
        )
    record = b",".join(fields)
    if draw(st.integers(0, 4)) == 4:  # noqa: PLR2004 - one row in five has something put into it
        place = draw(st.integers(0, len(record)))
        record = record[:place] + draw(st.sampled_from(_BAD_BYTES)) + record[place:]
    return record


def _cell(draw: DrawFn, text: str) -> bytes:
    """Write a field as RFC 4180 wants it, now and then in quotes that it does not need."""
    data = text.encode()
    if set(text) & set('",\r\n') or draw(st.integers(0, 9)) == 9:  # noqa: PLR2004 - as above
        return b'"' + data.replace(b'"', b'""') + b'"'
    return data
