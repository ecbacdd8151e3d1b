"""A look at a file: what is proposed, what is left open, and that nothing personal is shown."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from sales_mart.config import Config
from sales_mart.config.file import load_config
from sales_mart.config.report import template
from sales_mart.errors import DataError, EmptyInputError, SalesMartError
from sales_mart.rows.known_names import meanings
from sales_mart.rows.proposal import as_yaml
from sales_mart.source.inspect import Inspection, inspect, missing_in
from sales_mart.source.sample import SAMPLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADER = "transaction_id,product,price,quantity,date\n"
DATES = "format.date_format"
RETURNS = "validation.allow_returns"
ID = "columns.transaction_id"

CASES: dict[str, tuple[str | bytes, dict[str, Any], list[str], int]] = {
    "plain": (HEADER + "A1,Cup,7.00,1,2024-01-05\n", {}, [], 0),
    "no_final_newline": (HEADER + "V1,Cup,7.00,1,2024-01-05", {}, [], 0),
    "mixed_line_ends": (
        HEADER.replace("\n", "\r\n") + "V1,Cup,7.00,1,2024-01-05\nV2,Tea,2.50,3,2024-01-06\r\n\r\n",
        {},
        [],
        0,
    ),
    "quoted_newline": (
        HEADER + 'V1,"Cup\nblue",7.00,1,2024-01-05\nV2,"Tea ""green"", 2 kg",2.50,3,2024-01-06\n',
        {},
        [],
        0,
    ),
    "header_names": (
        "Order ID,Item,Price Per Unit,Quantity,Order Date\nS1,Green tea,2.50,3,2024-01-05\n",
        {
            ID: "Order ID",
            "columns.product": "Item",
            "columns.price": "Price Per Unit",
            "columns.date": "Order Date",
        },
        [],
        0,
    ),
    "lines_per_order": (
        HEADER + "R100,Green tea,2.50,3,2024-01-05\nR100,Cup,7.00,1,2024-01-05\n"
        "R101,Cup,7.00,2,2024-01-06\nR101,Cup,7.00,2,2024-01-06\n",
        {ID: ["transaction_id", "$row"]},
        [],
        0,
    ),
    "lines_with_a_number": (
        "Order No,Line,Item,Price,Qty,Date\n1,1,Tea,2.50,3,2024-01-05\n1,2,Cup,7.00,1,2024-01-05\n",
        {ID: ["Order No", "Line"], "columns.product": "Item", "columns.quantity": "Qty"},
        [],
        0,
    ),
    "duplicates_are_no_lines": (
        HEADER + "R1,Cup,7.00,2,2024-01-06\nR1,Cup,7.00,2,2024-01-06\n",
        {},
        [],
        1,
    ),
    "no_id": (
        "product,price,quantity,date\nCup,7.00,1,2024-01-05\nCup,7.00,1,2024-01-05\n",
        {ID: ["$file", "$row"]},
        [],
        0,
    ),
    "timestamp": (
        HEADER + "Z1,Cup,7.00,1,2024-01-05 23:30:00\nZ2,Cup,7.00,1,2024-01-05T23:30:00Z\n"
        "Z3,Cup,7.00,1,2024-01-05T23:30:00+04:00\nZ4,Cup,7.00,1,2024-01-06 00:15:00.000\n",
        {DATES: {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S.%f"}},
        ["format.timezone"],
        0,
    ),
    "timestamp_midnight": (
        HEADER + "Z1,Cup,7.00,1,2024-01-05 00:00:00\n",
        {DATES: {"%Y-%m-%d %H:%M:%S"}},
        [],
        0,
    ),
    "date_mdy": (
        HEADER + "D1,Cup,7.00,1,01/05/2024\nD2,Cup,7.00,1,1/31/2024\nD3,Cup,7.00,1,12/1/24\n",
        {DATES: {"%m/%d/%Y"}},
        [DATES],
        0,
    ),
    "date_dmy": (
        HEADER + "D1,Cup,7.00,1,05/01/2024\nD2,Cup,7.00,1,31.01.2024\nD3,Cup,7.00,1,01-12-2024\n",
        {DATES: {"%d.%m.%Y"}},
        [DATES],
        0,
    ),
    "date_undecided": (HEADER + "D1,Cup,7.00,1,03/04/2024\n", {}, [DATES], 0),
    "date_of_both": (
        HEADER + "D1,Cup,7.00,1,31/01/2024\nD2,Cup,7.00,1,01/31/2024\n",
        {},
        [DATES],
        1,
    ),
    "month_by_name": (
        HEADER + "D1,Cup,7.00,1,5 Jan 2024\nD2,Cup,7.00,1,6 February 2024\n",
        {DATES: {"%d %b %Y", "%d %B %Y"}},
        [],
        0,
    ),
    "returns": (
        HEADER + "A1,Cup,7.00,5,2024-01-05\nA2,Cup,7.00,-2,2024-01-06\n"
        "A3,Deposit,-10.00,1,2024-01-06\nA4,Gift bag,0.00,1,2024-01-06\n",
        {RETURNS: True},
        [],
        0,
    ),
    "returns_of_two_signs": (
        HEADER + "A1,Cup,7.00,5,2024-01-05\nA2,Cup,-7.00,-2,2024-01-06\n",
        {},
        [RETURNS],
        1,
    ),
    "line_total": (
        "transaction_id,product,quantity,amount,date\nL1,Cup,3,20.00,2024-01-05\n",
        {"columns.amount": "amount"},
        [],
        0,
    ),
    "total_that_is_the_product": (
        "transaction_id,product,Unit price,quantity,Total,date\nL1,Cup,3.00,2,6.00,2024-01-05\n",
        {"columns.price": "Unit price"},
        [],
        0,
    ),
    "total_with_tax": (
        "transaction_id,product,Unit price,quantity,Total,date\nL1,Cup,3.00,2,6.30,2024-01-05\n",
        {"columns.price": "Unit price"},
        ["columns.amount"],
        0,
    ),
    "total_with_a_constant_tax": (
        (
            "transaction_id,product,price,quantity,Total,date\nL1,Cup,3.00,2,6.30,2024-01-05\n"
            "L2,Cup,3.00,1,3.15,2024-01-05\nL3,Tea,2.50,3,7.88,2024-01-05\n"
        ),
        {},
        [],
        0,
    ),
    "total_less_a_share": (
        (
            "transaction_id,product,price,quantity,Discount,Total,date\n"
            "L1,Cup,3.00,2,0.15,5.10,2024-01-05\nL2,Cup,3.00,1,,3.00,2024-01-05\n"
        ),
        {"columns.amount": "Total"},
        [],
        0,
    ),
    "total_less_a_percentage": (
        (
            "transaction_id,product,price,quantity,Discount (%),Total,date\n"
            "L1,Cup,3.00,2,15,5.10,2024-01-05\nL2,Cup,3.00,1,0,3.00,2024-01-05\n"
        ),
        {"columns.amount": "Total"},
        [],
        0,
    ),
    "total_less_a_sum": (
        (
            "transaction_id,product,price,quantity,Rabatt,Total,date\n"
            "L1,Cup,3.00,2,0.90,5.10,2024-01-05\nL2,Cup,3.00,-1,-0.45,-2.55,2024-01-05\n"
        ),
        {"columns.amount": "Total", RETURNS: True},
        [],
        0,
    ),
    "two_totals_and_a_discount": (
        (
            "transaction_id,product,quantity,Gross Sales,Discounts,Net Sales,date\n"
            "L1,Cup,2,6.00,-0.90,5.10,2024-01-05\nL2,Cup,1,3.00,0.00,3.00,2024-01-05\n"
        ),
        {"columns.amount": "Net Sales"},
        [],
        0,
    ),
    "two_totals_that_differ": (
        (
            "transaction_id,product,quantity,Gross Sales,Discounts,Net Sales,date\n"
            "L1,Cup,2,6.00,0.00,5.10,2024-01-05\nL2,Cup,1,3.00,0.00,2.55,2024-01-05\n"
        ),
        {},
        ["columns.amount"],
        0,
    ),
    "price_of_all_pieces": (
        (
            "transaction_id,product,Price,quantity,date\nL1,Cup,6.00,2,2024-01-05\n"
            "L2,Cup,3.00,1,2024-01-05\nL3,Tea,2.50,1,2024-01-05\n"
        ),
        {"columns.amount": "Price"},
        [],
        0,
    ),
    "price_of_one_piece": (
        (
            "transaction_id,product,Price,quantity,date\nL1,Cup,6.00,2,2024-01-05\n"
            "L2,Cup,6.00,1,2024-01-05\nL3,Tea,2.50,1,2024-01-05\nL4,Tea,5.00,2,2024-01-05\n"
        ),
        {},
        [],
        0,
    ),
    "price_that_changes": (
        (
            "transaction_id,product,Price,quantity,date\nL1,Cup,6.00,2,2024-01-05\n"
            "L2,Cup,3.00,1,2024-01-05\nL3,Tea,2.50,1,2024-01-05\nL4,Tea,2.40,2,2024-01-05\n"
            "L5,Pot,9.50,1,2024-01-05\nL6,Pot,9.90,3,2024-01-05\n"
        ),
        {},
        [],
        0,
    ),
    "price_and_another": (
        (
            "transaction_id,product,price,Price (net),quantity,date\n"
            "L1,Cup,3.00,2.50,2,2024-01-05\nL2,Cup,3.00,2.50,1,2024-01-05\n"
        ),
        {},
        ["columns.price"],
        0,
    ),
    "gross_and_net_of_all_pieces": (
        (
            "transaction_id,product,Price (Gross),Price (Net),quantity,date\n"
            "L1,Cup,6.00,5.00,2,2024-01-05\nL2,Cup,3.00,2.50,1,2024-01-05\n"
        ),
        {},
        ["columns.amount"],
        0,
    ),
    "gross_and_net_of_one_piece": (
        (
            "transaction_id,product,Price (Gross),Price (Net),quantity,date\n"
            "L1,Cup,3.00,2.50,2,2024-01-05\nL2,Cup,3.00,2.50,1,2024-01-05\n"
        ),
        {},
        ["columns.price"],
        0,
    ),
    "product_without_a_name": (
        (
            "transaction_id,Description,SKU code,product id,price,quantity,date\n"
            "L1,Cup,C,1,3.00,2,2024-01-05\nL2,,,2,2.50,1,2024-01-05\n"
        ),
        {"columns.product": "product id"},
        [],
        0,
    ),
    "amounts_without_pieces": (
        (
            "transaction_id,product,quantity,amount,amount type,date\n"
            "L1,Cup,2,6.00,Price,2024-01-05\nL2,Cup,,-0.50,Fee,2024-01-05\n"
            "L3,Cup,,0.20,Tax,2024-01-05\n"
        ),
        {RETURNS: True, "columns.amount": "amount"},
        ["columns.quantity", "attributes.amount_type"],
        2,
    ),
    "cents": (
        "transaction_id,product,Price cents,quantity,date\nL1,Cup,300,2,2024-01-05\n",
        {"columns.price": {"from": "Price cents", "scale": "0.01"}},
        [],
        0,
    ),
    "no_quantity": (
        "transaction_id,product,price,date\nQ1,Cup,7.00,2024-01-05\n",
        {},
        ["columns.quantity"],
        0,
    ),
    "semicolon": (
        HEADER.replace(",", ";") + "K1;Cup;7.00;1;2024-01-05\n",
        {"format.delimiter": ";"},
        [],
        0,
    ),
    "tab": (
        HEADER.replace(",", "\t") + "K1\tCup\t7.00\t1\t2024-01-05\n",
        {"format.delimiter": "\t"},
        [],
        0,
    ),
    "pipe": (
        HEADER.replace(",", "|") + "K1|Cup|7.00|1|2024-01-05\n",
        {"format.delimiter": "|"},
        [],
        0,
    ),
    "semicolon_comma_cp1252": (
        (
            HEADER.replace(",", ";")
            + "K1;Kaffeebecher groß;7,00;1;2024-01-05\nK2;Käse;1.234,56;2;2024-01-06\n"
        ).encode("cp1252"),
        {
            "format.encoding": "cp1252",
            "format.delimiter": ";",
            "format.decimal_separator": ",",
            "format.thousands": ".",
        },
        [],
        0,
    ),
    "utf_16": ((HEADER + "C1,Café,2.50,1,2024-01-05\n").encode("utf-16"), {}, [], 0),
    "utf_16_without_a_mark": (
        (HEADER + "C1,Cafe,2.50,1,2024-01-05\n").encode("utf-16-le"),
        {"format.encoding": "utf-16-le"},
        [],
        0,
    ),
    "utf_8_with_a_mark": ((HEADER + "C1,Café,2.50,1,2024-01-05\n").encode("utf-8-sig"), {}, [], 0),
    "decimal_comma": (
        HEADER + 'K1,Cup,"7,00",1,2024-01-05\nK2,Tea,"1.234,56",1,2024-01-05\n'
        'K3,Tea,"1 234,56",1,2024-01-05\n',
        {"format.decimal_separator": ","},
        ["format.thousands"],
        1,
    ),
    "a_mark_before_three_digits": (
        HEADER + "K1,Cup,12.500,1,2024-01-05\n",
        {},
        ["format.decimal_separator"],
        0,
    ),
    "currency": (
        HEADER + 'M1,Cup,$7.00,1,2024-01-05\nM2,Desk,"$1,234.56",1,2024-01-05\n'
        "M3,Cup,€7.00,1,2024-01-05\nM4,Cup,7.00 EUR,1,2024-01-05\nM5,Refund,($7.00),1,2024-01-05\n",
        {"format.thousands": ",", RETURNS: True},
        ["format.currency_sign"],
        2,
    ),
    "one_currency_sign": (
        HEADER + "M1,Cup,7.00 €,1,2024-01-05\nM2,Cup,8.00,1,2024-01-05\n",
        {"format.currency_sign": "€"},
        [],
        0,
    ),
    "extra_columns": (
        HEADER.replace("\n", ",store,customer_id,currency,discount\n")
        + "X1,Cup,7.00,1,2024-01-05,Jakarta,C-1,USD,0\n"
        "X2,Cup,110000,1,2024-01-05,Jakarta,C-2,IDR,0\n",
        {"attributes.currency": {"from": "currency", "role": "currency"}},
        [],
        0,
    ),
    "cp1252": (
        (HEADER + "C1,Café crème,2.50,1,2024-01-05\nC2,Cup\u2013 large,7.00,1,2024-01-05\n").encode(
            "cp1252"
        ),
        {"format.encoding": "cp1252"},
        [],
        0,
    ),
    "float_quantity": (
        HEADER + "G1,Cup,7.00,1.0,2024-01-05\nG3,Cheese (kg),12.00,0.45,2024-01-05\n",
        {"validation.quantity_decimals": 2},
        [],
        0,
    ),
    "many_decimals": (
        HEADER + "F1,Cup,16.448,1,2024-01-05\nF2,Tea,12.989999999999998,1,2024-01-05\n"
        "F3,Tea,7.000,1,2024-01-05\nF4,Tea,1.1000000000,1,2024-01-05\n",
        {},
        ["validation.max_decimals"],
        2,
    ),
    "three_decimals": (
        HEADER + "F1,Cup,16.448,1,2024-01-05\nF2,Tea,0.5,1,2024-01-05\n",
        {"validation.max_decimals": 3},
        [],
        0,
    ),
    "large_quantity": (
        HEADER + "F1,Cup,16.00,240,2024-01-05\n",
        {"validation.max_quantity": 1000},
        [],
        0,
    ),
    "large_return": (
        HEADER + "F1,Cup,16.00,-1000,2024-01-05\n",
        {"validation.max_quantity": 10_000, RETURNS: True},
        [],
        0,
    ),
    "null_words": (
        HEADER + "F1,Cup,16.00,1,2024-01-05\nF2,Cup,N/A,1,2024-01-05\nF3,Cup,7.00,1,-\n",
        {"format.null_values": ["N/A", "-"]},
        [],
        2,
    ),
    "total_line": (
        HEADER + "P1,Cup,7.00,1,2024-01-05\nP2,Tea,2.50,3,2024-01-06\nTOTAL,,9.50,4,\n",
        {},
        [],
        1,
    ),
    "total_line_short": (
        HEADER + "P1,Cup,7.00,1,2024-01-05\nP2,Tea,2.50,3,2024-01-06\n\n2 rows\n",
        {},
        [],
        1,
    ),
    "repeated_header": (
        HEADER + "H1,Cup,7.00,1,2024-01-05\n,,,,\n" + HEADER + "H2,Tea,2.50,3,2024-01-06\n",
        {},
        [],
        2,
    ),
    "jagged": (
        HEADER.replace("\n", ",note\n") + "H1,Cup,7.00,1,2024-01-05\nH2,Tea,2.50,3,2024-01-06,x\n",
        {"format.jagged_rows": True},
        [],
        0,
    ),
    "jagged_in_the_middle": (
        HEADER.replace("\n", ",note\n") + "H1,Cup,7.00,2024-01-05\nH2,Tea,2.50,3,2024-01-06,x\n"
        "H3,Tea,2.50,3,2024-01-06,\n",
        {},
        ["format.jagged_rows"],
        1,
    ),
    "trailing_delimiter": (
        HEADER.replace("\n", ",\n") + "T1,Cup,7.00,1,2024-01-05,\n",
        {},
        [],
        0,
    ),
    "headerless": (
        "Y1,Cup,7.00,1,2024-01-05\nY2,Tea,2.50,3,2024-01-06\n",
        {},
        ["format.header"],
        0,
    ),
    "title_lines": (
        "Sales report\nJanuary, 2024\n\n" + HEADER + "Y1,Cup,7.00,1,2024-01-05\n",
        {"format.skip_rows": 3},
        [],
        0,
    ),
    "excel_text": (
        HEADER + '="0001",Cup,7.00,1,2024-01-05\n5.36E+05,Tea,2.50,3,2024-01-06\n',
        {},
        [],
        1,
    ),
    "backslash_escape": (
        HEADER + 'V1,"Cup 5\\" wide",7.00,1,2024-01-05\nV2,Tea,2.50,3,2024-01-06\n',
        {"format.escape": "\\"},
        [],
        0,
    ),
    "german": (
        "Belegnummer;Artikel;Einzelpreis;Menge;Datum\n1001;Käse;1.234,50;2;31.01.2024\n",
        {
            "format.delimiter": ";",
            "format.decimal_separator": ",",
            "format.thousands": ".",
            DATES: {"%d.%m.%Y"},
            ID: "Belegnummer",
            "columns.product": "Artikel",
            "columns.price": "Einzelpreis",
            "columns.quantity": "Menge",
            "columns.date": "Datum",
        },
        [],
        0,
    ),
}
"""The file, what is decided below `ingestion`, what is left open, and the rows rejected so."""


def looked_at(content: str | bytes, folder: Path, name: str = "file.csv") -> Inspection:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return inspect(str(path))


def settings(found: Inspection) -> dict[str, Any]:
    """Return what is decided; lists of formats as sets, since their order says nothing."""
    assert found.proposal is not None
    return {
        (key := each.key.removeprefix("ingestion.")): (
            set(each.value)
            if key == DATES
            else {name: str(value) for name, value in each.value.items()}
            if isinstance(each.value, dict)
            else each.value
        )
        for each in found.proposal.settings
    }


@pytest.mark.parametrize("name", CASES)
def test_what_is_proposed_and_what_is_left_open(name: str, tmp_path: Path) -> None:
    content, decided, left_open, rejected = CASES[name]
    found = looked_at(content, tmp_path)
    assert found.proposal is not None
    made = settings(found)
    assert {key: made.get(key) for key in decided} == decided
    if not decided:
        assert made == {}
    assert [each.key.removeprefix("ingestion.") for each in found.proposal.open] == left_open
    assert found.preview.problem is None
    assert found.preview.rows_rejected == rejected


@pytest.mark.parametrize("name", CASES)
def test_what_init_writes_loads(name: str, tmp_path: Path) -> None:
    """It loads as it is, and with each of the answers commented in."""
    found = looked_at(CASES[name][0], tmp_path)
    assert found.proposal is not None
    file = tmp_path / "config.yaml"
    file.write_text(template(found.proposal, found.file.uri), encoding="utf-8")
    config = load_config(file, environ={})
    assert config.sources == (found.file.uri,)
    for each in found.proposal.settings:
        value: Any = config.model_dump(mode="json", by_alias=True)
        for part in each.key.split("."):
            value = value[part]
        assert value is not None
    text = file.read_text(encoding="utf-8")
    for question in found.proposal.open:
        chosen = text
        for choice in question.choices[:1]:
            for key, value in choice.values.items():
                line = f"# {key.rpartition('.')[2]}: {as_yaml(value)}"
                assert line in text
                # What is set already gives way.
                active = f"\n    {key.rpartition('.')[2]}: "
                start = chosen.find(active)
                if start >= 0:
                    end = chosen.index("\n", start + 1)
                    chosen = chosen[:start] + chosen[end:]
                chosen = chosen.replace(line, line.removeprefix("# "))
        for section in ("format", "columns", "attributes", "validation"):
            chosen = chosen.replace(f"  # {section}:\n", f"  {section}:\n")
        file.write_text(chosen, encoding="utf-8")
        load_config(file, environ={})
    assert yaml.safe_load(found.proposal.yaml()) is None or "ingestion" in yaml.safe_load(
        found.proposal.yaml()
    )


def test_a_line_end_that_nobody_writes_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lone CR"):
        looked_at(HEADER.replace("\n", "\r") + "V1,Cup,7.00,1,2024-01-05\r", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_a_file_without_a_row_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="not even a header"):
        looked_at(content, tmp_path)


@pytest.mark.parametrize("content", [b"%PDF-1.7\n", bytes(range(256)) * 20])
def test_what_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(SalesMartError):
        looked_at(content, tmp_path)


TABLE = pl.DataFrame(
    {
        "Order ID": [1, 1, 2],
        "Item": ["Cup", "Tea", "Cup"],
        "Unit price": [7.0, 2.5, 7.0],
        "Qty": [1, 3, 2],
        "Order Date": [date(2024, 1, 5)] * 3,
    }
)


def test_every_kind_of_file_is_looked_at(tmp_path: Path) -> None:
    parquet = io.BytesIO()
    TABLE.write_parquet(parquet)
    lines = TABLE.write_ndjson().encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a/sales.csv", TABLE.write_csv())
    kinds = {
        "sales.parquet": (parquet.getvalue(), "parquet"),
        "sales.jsonl": (lines, "jsonl"),
        "sales.csv.gz": (gzip.compress(TABLE.write_csv().encode()), "csv"),
        "sales.zip": (archive.getvalue(), "csv"),
    }
    for name, (content, kind) in kinds.items():
        found = looked_at(content, tmp_path, name)
        assert found.file.kind == kind
        assert settings(found) == {
            ID: ["Order ID", "$row"],
            "columns.product": "Item",
            "columns.price": "Unit price",
            "columns.quantity": "Qty",
            "columns.date": "Order Date",
        }
        assert (found.preview.rows_read, found.preview.rows_rejected) == (3, 0)


SECRETS = {
    "order": "ORD-99817-XZ",
    "mail": "ann.lee@shop.example",
    "name": "Annabelle Leewater",
    "phone": "+62 811 222 3333",
    "customer": "CUST-4471",
}
PERSONAL = (
    "Order No,Item,Price,Qty,Date,E-mail,Customer Name,Phone,Customer ID\n"
    f"{SECRETS['order']},Cup,7.00,1,2024-01-05,{SECRETS['mail']},{SECRETS['name']},"
    f"{SECRETS['phone']},{SECRETS['customer']}\n"
    f"{SECRETS['order']},Tea,x,1,2024-01-05,{SECRETS['mail']},{SECRETS['name']},"
    f"{SECRETS['phone']},{SECRETS['customer']}\n"
)


@pytest.mark.parametrize(
    "content",
    [
        PERSONAL,
        PERSONAL.partition("\n")[2],
        # A stray quote, a row that is shifted, and one that is cut short.
        PERSONAL + f'"{SECRETS["order"]},Cup,7.00\n',
        PERSONAL + f"{SECRETS['order']},{SECRETS['mail']},{SECRETS['name']},1,x,,,,\n",
    ],
)
def test_nothing_personal_is_shown(content: str, tmp_path: Path) -> None:
    found = looked_at(content, tmp_path)
    assert found.proposal is not None
    shown = found.model_dump_json() + found.proposal.yaml()
    shown += template(found.proposal, found.file.uri)
    assert [name for name, secret in SECRETS.items() if secret in shown] == []


def test_personal_columns_are_offered_as_tokens_only(tmp_path: Path) -> None:
    found = looked_at(PERSONAL, tmp_path)
    assert found.proposal is not None
    offered = {
        key.rpartition(".")[2]: value
        for each in found.proposal.questions
        for choice in each.choices
        for key, value in choice.values.items()
        if key.startswith("ingestion.attributes.")
    }
    assert {name for name, value in offered.items() if value.get("pii")} == {
        "e_mail",
        "customer_name",
        "phone",
        "customer_id",
    }
    assert not any(each.is_open for each in found.proposal.questions if "attributes" in each.key)


def test_only_the_start_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    row = "A%09d,Cup,7.00,1,2024-01-05\n"
    with path.open("w", encoding="ascii") as file:
        file.write(HEADER)
        file.writelines(row % number for number in range(2 * SAMPLE_BYTES // len(row % 0)))
        start = file.tell()
        # The rest is a hole in the file, of NUL bytes.
        file.truncate(1 << 30)
    assert start > SAMPLE_BYTES
    found = inspect(str(path))
    assert not found.file.is_whole
    assert found.file.size == 1 << 30
    assert 0 < found.preview.rows_read <= SAMPLE_BYTES // 20
    assert found.preview.rows_rejected == 0


def test_a_quoted_field_may_stand_where_the_sample_ends(tmp_path: Path) -> None:
    rows = "".join(f'A{number:07},"Cup\nblue",7.00,1,2024-01-05\n' for number in range(40_000))
    found = looked_at(HEADER + rows, tmp_path)
    assert not found.file.is_whole
    assert found.preview.rows_rejected == 0


def test_a_configuration_is_tried_in_the_place_of_a_proposal(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("a;b;c;d;e\nS1;Cup;7,00;1;05/01/2024\n", encoding="ascii")
    columns = {"transaction_id": "a", "product": "b", "price": "c", "quantity": "d", "date": "e"}
    form = {"delimiter": ";", "decimal_separator": ",", "date_format": "%d/%m/%Y"}
    config = Config.model_validate(
        {
            "ingestion": {"format": form, "columns": columns},
            "security": {"algorithm": "sha256"},
        }
    )
    found = inspect(str(path), config)
    assert found.proposal is None
    assert (found.preview.rows_read, found.preview.rows_rejected) == (1, 0)
    assert found.preview.rows[0]["price"] == "7.00"
    assert missing_in(str(path), config) is None
    lacking = missing_in(str(path), Config())
    assert lacking is not None
    assert "lacks" in lacking[0] or "no header" in lacking[0]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("InvoiceNo", "transaction_id"),
        ("ORDER_ID", "transaction_id"),
        ("Lineitem name", "product"),
        ("Unit price (EUR)", "price"),
        ("Stückpreis", "price"),
        ("Prix unitaire", "price"),
        ("Qty.", "quantity"),
        ("Cantidad", "quantity"),
        ("Total harga", "amount"),
        ("Created (UTC)", "date"),
        ("Tanggal", "date"),
        ("E-Mail", "person"),
    ],
)
def test_names_of_exports_are_known(name: str, meant: str) -> None:
    assert meant in meanings(name)


KNOWN = ("Order ID", "Item", "Price", "Qty", "Date", "Currency", "Total", "E-mail", "Line", "Net")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(
    st.recursive(
        st.one_of(TEXTS, st.integers(), st.booleans()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_a_value_is_read_back_from_its_yaml(value: object) -> None:
    assert yaml.safe_load(f"key: {as_yaml(value)}") == {"key": value}


@given(
    names=st.lists(st.one_of(TEXTS, st.sampled_from(KNOWN)), min_size=2, max_size=7, unique=True),
    rows=st.integers(0, 5),
)
@settings_of_hypothesis(deadline=None)
def test_any_header_is_proposed_as_it_stands(
    names: list[str], rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the columns are called, the file is written, and loads."""
    folder = tmp_path_factory.mktemp("any")
    frame = pl.DataFrame({name: [f"{at}.50"] * rows for at, name in enumerate(names)})
    path = folder / "any.csv"
    frame.write_csv(path)
    try:
        found = inspect(str(path))
    except SalesMartError:
        return
    assert found.proposal is not None
    file = folder / "config.yaml"
    file.write_text(template(found.proposal, found.file.uri), encoding="utf-8")
    load_config(file, environ={})


def test_what_was_found_is_data(tmp_path: Path) -> None:
    found = looked_at(CASES["currency"][0], tmp_path)
    document: Mapping[str, Any] = json.loads(found.model_dump_json())
    assert document["file"]["kind"] == "csv"
    assert {each["name"] for each in document["columns"]} == set(HEADER.strip().split(","))
    assert document["preview"]["reasons"] == {"price_currency": 2}
