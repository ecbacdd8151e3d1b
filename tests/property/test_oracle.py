"""The oracle against cases worked out by hand: what checks the code must be right itself."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

import oracle
from sales_mart.config import Config

HEADER = b"transaction_id,product,price,quantity,date\n"
BOM = b"\xef\xbb\xbf"


def config(*, trust_input: bool = False, **rules: object) -> Config:
    validation = {"min_price": "10", "product_prefix": "Halal", **rules}
    return Config.model_validate(
        {"ingestion": {"trust_input": trust_input, "validation": validation}}
    )


def cut(data: bytes, longest: int = 1000) -> list[tuple[int, int, bytes, int | None]]:
    """Line, offset, bytes and number of cells of each record."""
    return [
        (
            record.line,
            record.offset,
            record.data,
            None if record.cells is None else len(record.cells),
        )
        for record in oracle.records(data, longest=longest)
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (BOM, []),
        (b"\n \t\n\r\n  \r\n\t", []),
        (b"a,b", [(1, 0, b"a,b", 2)]),
        (BOM + b"a,b\n", [(1, 3, b"a,b", 2)]),
        (BOM + b'"a",b\n', [(1, 3, b'"a",b', 2)]),
        (b"a,b\nc,d\n", [(1, 0, b"a,b", 2), (2, 4, b"c,d", 2)]),
        (b"a,b\r\nc,d\r\n", [(1, 0, b"a,b", 2), (2, 5, b"c,d", 2)]),
        (b"\n\r\na\n \nb", [(3, 3, b"a", 1), (5, 7, b"b", 1)]),
        # A carriage return alone is data; only the last one before the line feed is not.
        (b"a\rb,c\r\r\nd\r", [(1, 0, b"a\rb,c\r", 2), (2, 8, b"d\r", 1)]),
        (b"\r\r\n", [(1, 0, b"\r", 1)]),
        (b"\r", [(1, 0, b"\r", 1)]),
        # Quotes hold commas, line ends and doubled quotes.
        (b'"a,b",c\n', [(1, 0, b'"a,b",c', 2)]),
        (b'"a\n\r\nb",c\nd', [(1, 0, b'"a\n\r\nb",c', 2), (4, 10, b"d", 1)]),
        (b'"a""b",""\n', [(1, 0, b'"a""b",""', 2)]),
        (b'""""\n""', [(1, 0, b'""""', 1), (2, 5, b'""', 1)]),
        (b'"a"\r\n"b"', [(1, 0, b'"a"', 1), (2, 5, b'"b"', 1)]),
        (b'a,\n,"b"\n', [(1, 0, b"a,", 2), (2, 3, b',"b"', 2)]),
        # A line of blanks inside quotes is data.
        (b'"\n \n",b\n', [(1, 0, b'"\n \n",b', 2)]),
        # Broken records end with their first physical line.
        (b'a"b,c\nd,e\n', [(1, 0, b'a"b,c', None), (2, 6, b"d,e", 2)]),
        (b' "a",b\nc,d', [(1, 0, b' "a",b', None), (2, 7, b"c,d", 2)]),
        (b'"a"b,c\r\nd', [(1, 0, b'"a"b,c', None), (2, 8, b"d", 1)]),
        (b'"a" ,b\nc', [(1, 0, b'"a" ,b', None), (2, 7, b"c", 1)]),
        (b'"a"\r', [(1, 0, b'"a"\r', None)]),
        (b'"a"\r\r\nb', [(1, 0, b'"a"\r', None), (2, 6, b"b", 1)]),
        (b'"a,b\nc,d\ne', [(1, 0, b'"a,b', None), (2, 5, b"c,d", 2), (3, 9, b"e", 1)]),
        (b'a,"b\nc\n"d', [(1, 0, b'a,"b', None), (2, 5, b"c", 1), (3, 7, b'"d', None)]),
        # A quote that nobody closed meets the next record's quote and stops there.
        (b'"a,b\n"c",d\n', [(1, 0, b'"a,b', None), (2, 5, b'"c",d', 2)]),
        # … unless what follows looks like a field's end: then the lines are one record.
        (b'"a,b\nc",d\n', [(1, 0, b'"a,b\nc",d', 2)]),
    ],
)  # fmt: skip
def test_records(data: bytes, expected: list[tuple[int, int, bytes, int | None]]) -> None:
    assert cut(data) == expected


def test_a_record_longer_than_the_limit_is_broken() -> None:
    assert cut(b"abcd,efgh\nx", longest=9) == [(1, 0, b"abcd,efgh", 2), (2, 10, b"x", 1)]
    assert cut(b"abcd,efghi\nx", longest=9) == [(1, 0, b"abcd,efghi", None), (2, 11, b"x", 1)]
    assert cut(b'"a\nb",cd\nx', longest=8) == [(1, 0, b'"a\nb",cd', 2), (3, 9, b"x", 1)]
    assert cut(b'"a\nb",cde\nx', longest=8) == [
        (1, 0, b'"a', None),
        (2, 3, b'b",cde', None),
        (3, 10, b"x", 1),
    ]


VALID = {
    "transaction_id": "T1",
    "product": "Halal Mouse",
    "price": "24.99",
    "quantity": "3",
    "date": "2023-10-02",
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ()),
        ({"transaction_id": ""}, ("missing_transaction_id",)),
        ({"transaction_id": " \u00a0\u3000\t"}, ("missing_transaction_id",)),
        ({"transaction_id": "\u200b"}, ("transaction_id_format",)),
        ({"transaction_id": "T\u00ad1"}, ("transaction_id_format",)),
        ({"transaction_id": "T\ufe0f1"}, ("transaction_id_format",)),
        ({"transaction_id": "\x1c"}, ()),
        ({"product": None}, ("missing_product",)),
        ({"product": "Monitor"}, ("product_prefix",)),
        ({"product": "halal Mouse"}, ("product_prefix",)),
        ({"product": "\u2003Halal"}, ()),
        ({"product": "\ufeffHalal"}, ("product_prefix",)),
        ({"price": " "}, ("missing_price",)),
        ({"price": "10"}, ()),
        ({"price": "100.5"}, ()),
        ({"price": "0000000000000000000010.00"}, ()),
        ({"price": "9999999999999999.99"}, ()),
        ({"price": "10000000000000000"}, ("price_format",)),
        ({"price": "10000000000000000.123"}, ("price_format",)),
        ({"price": "20."}, ("price_format",)),
        ({"price": ".5"}, ("price_format",)),
        ({"price": "+20"}, ("price_format",)),
        ({"price": "-20"}, ("negative_price",)),
        ({"price": "2e1"}, ("price_format",)),
        ({"price": "1,000"}, ("price_format",)),
        ({"price": "1_000"}, ("price_format",)),
        ({"price": "2\u0660"}, ("price_format",)),
        ({"price": "20\x1f"}, ("price_format",)),
        ({"price": "20\u0085"}, ()),
        ({"price": "20.000"}, ()),
        ({"price": "20.001"}, ("price_decimals",)),
        ({"price": "1.234"}, ("price_decimals", "price_too_low")),
        ({"price": "9.99"}, ("price_too_low",)),
        ({"price": "0"}, ("price_too_low",)),
        ({"quantity": ""}, ("missing_quantity",)),
        ({"quantity": "0007"}, ()),
        ({"quantity": "100"}, ()),
        ({"quantity": "101"}, ("quantity_range",)),
        ({"quantity": "000"}, ("quantity_range",)),
        ({"quantity": "9223372036854775807"}, ("quantity_range",)),
        ({"quantity": "9223372036854775808"}, ("quantity_format",)),
        ({"quantity": "9" * 5000}, ("quantity_format",)),
        ({"quantity": "0" * 5000 + "1"}, ()),
        ({"quantity": "1.0"}, ()),
        ({"quantity": "1.5"}, ("quantity_format",)),
        ({"quantity": "-1"}, ("negative_quantity",)),
        ({"quantity": "\uff11"}, ("quantity_format",)),
        ({"date": ""}, ("missing_date",)),
        ({"date": " 2024-02-29 "}, ()),
        ({"date": "0001-01-01"}, ()),
        ({"date": "9999-12-31"}, ()),
        ({"date": "2023-02-29"}, ("date_format",)),
        ({"date": "0000-01-01"}, ("date_format",)),
        ({"date": "2023-1-02"}, ("date_format",)),
        ({"date": "20231002"}, ("date_format",)),
        ({"date": "2023-W01-1"}, ("date_format",)),
        ({"date": "2023/10/02"}, ("date_format",)),
        ({"date": "2023-10-02T00"}, ("date_format",)),
        ({"date": "2023-10-0\u0662"}, ("date_format",)),
        (
            dict.fromkeys(VALID, " "),
            (
                "missing_transaction_id",
                "missing_product",
                "missing_price",
                "missing_quantity",
                "missing_date",
            ),
        ),
        (
            {"date": "x", "quantity": "0", "price": "0.001", "product": "x", "transaction_id": ""},
            (
                "missing_transaction_id",
                "product_prefix",
                "price_decimals",
                "price_too_low",
                "quantity_range",
                "date_format",
            ),
        ),
    ],
)
def test_check(change: dict[str, str | None], expected: tuple[str, ...]) -> None:
    assert oracle.check({**VALID, **change}, config()) == expected


def test_trusted_input_skips_three_rules() -> None:
    row = {**VALID, "product": "x", "price": "0.001", "quantity": "101"}
    assert oracle.check(row, config(trust_input=True)) == ("price_decimals",)
    huge = {**VALID, "price": "x", "quantity": "9" * 19}
    assert oracle.check(huge, config(trust_input=True)) == ("price_format", "quantity_format")


def test_optional_fields_may_be_missing_but_not_wrong() -> None:
    relaxed = config(required_fields=["transaction_id", "date"])
    empty = {**VALID, "product": "", "price": None, "quantity": " "}
    assert oracle.check(empty, relaxed) == ()
    assert oracle.check({**VALID, "price": "x"}, relaxed) == ("price_format",)


def test_max_decimals_moves_the_integer_digits() -> None:
    whole = config(max_decimals=0)
    assert oracle.check({**VALID, "price": "9" * 18}, whole) == ()
    assert oracle.check({**VALID, "price": "1" + "0" * 18}, whole) == ("price_format",)
    assert oracle.check({**VALID, "price": "20.0"}, whole) == ()
    assert oracle.check({**VALID, "price": "20.1"}, whole) == ("price_decimals",)
    assert oracle.check({**VALID, "price": "9" * 9 + ".123456789"}, config(max_decimals=9)) == ()


def test_check_file() -> None:
    data = (
        BOM
        + b"\r\n"
        + b' DATE,extra,"Transaction_ID",price,Quantity,product\r\n'
        + b"2023-10-02,x,T1,24.99,3,Halal Mouse\r\n"
        + b" \t\r\n"
        + b'2023-10-02,"x\r\ny",T2,24.99,3,"Halal, ""Mouse"""\r\n'
        + b"2023-10-02,x,T3,24.99,3\r\n"
        + b"2023-10-02,\xff,T4,24.99,3,Halal\r\n"
        + b"2023-10-02,\x00\xff,T5,24.99,3,Halal\r\n"
        + b'2023-10-02,x,T"6\xff,24.99,3,Halal\r\n'
        + b"2023-10-02,x,T7,1.234,0,Halal"
    )
    results = list(oracle.check_file(data, config()))
    assert [(v.line, v.source_row, v.reasons) for v in results] == [
        (3, 1, ()),
        (5, 2, ()),
        (7, 3, ("malformed_row",)),
        (8, 4, ("encoding",)),
        (9, 5, ("malformed_row", "encoding")),
        (10, 6, ("malformed_row", "encoding")),
        (11, 7, ("price_decimals", "price_too_low", "quantity_range")),
    ]
    for result in results:
        piece = data[result.offset : result.offset + result.length]
        assert piece.startswith(b"2023-10-02,")
        assert not piece.endswith((b"\r", b"\n"))
    assert results[1].fields == {
        "transaction_id": "T2",
        "product": 'Halal, "Mouse"',
        "price": "24.99",
        "quantity": "3",
        "date": "2023-10-02",
    }
    assert results[3].fields is None


def test_the_first_valid_row_of_an_id_wins() -> None:
    rows = (
        b"A,Halal,20,0,2023-10-01\n"  # invalid: does not claim its id
        b"A,Halal,20,1,2023-10-01\n"
        b" A ,Halal,30,1,2023-10-02\n"
        b"a,Halal,30,1,2023-10-02\n"
        b"A,Halal,30,0,2023-10-02\n"
    )
    seen: dict[str, oracle.Typed] = {}
    first = list(oracle.settle(oracle.check_file(HEADER + rows, config()), seen, config()))
    assert [v.reasons for v in first] == [
        ("quantity_range",),
        (),
        ("conflicting_transaction_id",),
        (),
        ("quantity_range",),
    ]
    again = list(oracle.settle(oracle.check_file(HEADER + rows, config()), seen, config()))
    reasons = [v.reasons for v in again]
    assert reasons.count(("duplicate_transaction_id",)) == 2
    assert reasons.count(("conflicting_transaction_id",)) == 1


def test_clean_gives_exact_values() -> None:
    (result,) = oracle.check_file(HEADER + b"T1,Halal, 0024.9,007,2023-10-02", config())
    assert oracle.typed(result, config()) == oracle.Typed(
        "T1", "Halal", Decimal("24.90"), 7, date(2023, 10, 2)
    )
