"""Files as people have them: what each gives, with the configuration that says how it is written.

The same rows as a frame give the same, wherever a frame can hold them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import sales_mart
from sales_mart.config import Config
from sales_mart.errors import (
    ConfigurationError,
    DataError,
    EmptyInputError,
    SalesMartError,
    SourceFormatError,
)
from sales_mart.lake import parquet
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from sales_mart.lake.records import Seal

CASES = Path(__file__).parents[1] / "cases"
TIMES = ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S.%f"]


@dataclass(frozen=True)
class Case:
    """A file, the section `ingestion` that says how it is written, and what comes of it."""

    file: str
    ingestion: dict[str, Any] = field(default_factory=dict[str, Any])
    rows: int = 0
    amount: str = "0"
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    days: str = ""
    as_frame: bool = True


def _format(**keys: Any) -> dict[str, Any]:
    return {"format": keys}


RETURNS = {"validation": {"allow_returns": True}}
COMMA_AND_POINT = _format(decimal_separator=",", thousands=".")
DOLLARS = _format(currency_sign="$", thousands=",")
READ = [
    Case(
        "header_names.csv",
        {
            "columns": {
                "transaction_id": "Order ID",
                "product": "Item",
                "price": {"any_of": ["Unit price", "price per unit"]},
                "date": "Order Date",
            }
        },
        2,
        "14.50",
    ),
    Case(
        "lines_per_order.csv",
        {},
        2,
        "21.50",
        {"conflicting_transaction_id": 1, "duplicate_transaction_id": 1},
    ),
    Case(
        "lines_per_order.csv",
        {"columns": {"transaction_id": ["transaction_id", "$row"]}},
        4,
        "42.50",
    ),
    Case("no_id.csv", {"columns": {"transaction_id": ["$file", "$row"]}}, 3, "21.50"),
    Case("timestamp.csv", _format(date_format=TIMES), 4, "28.00", days="05 05 05 06"),
    Case(
        "timestamp.csv",
        _format(date_format=TIMES, timezone="Asia/Jakarta"),
        4,
        "28.00",
        days="05 06 06 06",
    ),
    Case("timestamp_midnight.csv", _format(date_format=TIMES), 1, "7.00", days="05"),
    Case(
        "date_mdy.csv",
        _format(date_format="%m/%d/%Y"),
        2,
        "14.00",
        {"date_format": 1},
        days="05 31",
    ),
    Case(
        "date_mdy.csv", _format(date_format=["%m/%d/%Y", "%m/%d/%y"]), 3, "21.00", days="05 31 01"
    ),
    Case(
        "date_dmy.csv",
        _format(date_format=["%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y"]),
        3,
        "21.00",
        days="05 31 01",
    ),
    Case("returns.csv", RETURNS, 4, "11.00"),
    Case(
        "returns.csv",
        {},
        1,
        "35.00",
        {"negative_quantity": 1, "negative_price": 1, "price_too_low": 1},
    ),
    Case("line_total.csv", {"columns": {"amount": "amount"}}, 2, "25.00"),
    Case("no_quantity.csv", {"columns": {"quantity": {"value": 1}}}, 2, "14.00"),
    Case("semicolon.csv", {}, 1, "7.00"),
    Case("semicolon.csv", _format(delimiter=";"), 1, "7.00"),
    Case("tab.csv", {}, 1, "7.00"),
    Case("pipe.csv", {}, 1, "7.00"),
    Case(
        "semicolon_comma_cp1252.csv",
        _format(delimiter=";", encoding="cp1252", decimal_separator=",", thousands="."),
        2,
        "2476.12",
    ),
    Case("decimal_comma.csv", COMMA_AND_POINT, 2, "1241.56", {"price_format": 1}),
    Case(
        "decimal_comma.csv",
        _format(decimal_separator=",", thousands=" "),
        2,
        "1241.56",
        {"price_format": 1},
    ),
    Case("currency.csv", {**DOLLARS, **RETURNS}, 3, "1234.56", {"price_currency": 2}),
    Case("currency.csv", DOLLARS, 2, "1241.56", {"price_currency": 2, "negative_price": 1}),
    Case(
        "extra_columns.csv",
        {"attributes": {"store": {"dimension": True}, "currency": {"role": "currency"}}},
        3,
        "110021.00",
    ),
    Case("cp1252.csv", _format(encoding="cp1252"), 3, "16.50"),
    Case("float_quantity.csv", {}, 2, "21.00", {"quantity_format": 1}),
    Case("float_quantity.csv", {"validation": {"quantity_decimals": 2}}, 3, "26.40"),
    Case("many_decimals.csv", {}, 2, "8.10", {"price_decimals": 2}),
    Case("many_decimals.csv", {"validation": {"rounding": "half_up"}}, 4, "37.54"),
    Case("total_line.csv", {}, 2, "14.50", {"missing_date": 1, "missing_product": 1}),
    Case("total_line_short.csv", {}, 2, "14.50", {"malformed_row": 1}),
    Case("trailing_delimiter.csv", {}, 2, "14.50"),
    Case(
        "headerless.csv",
        _format(header=["transaction_id", "product", "price", "quantity", "date"]),
        2,
        "14.50",
        as_frame=False,
    ),
    Case("excel_text.csv", {}, 1, "7.50", {"malformed_row": 1}),
    Case("backslash_escape.csv", _format(escape="\\"), 2, "14.50", as_frame=False),
    Case("backslash_escape.csv", {}, 1, "7.50", {"malformed_row": 1}),
    Case("case_and_space.csv", {}, 5, "35.00"),
    Case("mixed_line_ends.csv", {}, 2, "14.50", as_frame=False),
    Case("quoted_newline.csv", {}, 2, "14.50"),
    Case("no_final_newline.csv", {}, 1, "7.00"),
]


def configuration(ingestion: dict[str, Any]) -> Config:
    return Config.model_validate({"ingestion": ingestion, "security": {"algorithm": "sha256"}})


def sealed(
    config: Config, folder: Path, *sources: Path, **options: Any
) -> tuple[pl.DataFrame, Seal]:
    """Take files up to the seal; the valid rows in their order, and the record."""
    lake = str(folder / "lake")
    made = plan(
        config, lake, business_date=date(2024, 1, 6), source=[str(source) for source in sources]
    )
    run = RunFolder(lake, made.run_id)
    for shard in range(len(made.shards)):
        validate_shard(config, run, shard, **options)
    record = seal(config, run)
    parts = [parquet.read_part(run, part) for part in record.valid]
    return (pl.concat(parts) if parts else pl.DataFrame()), record


@pytest.mark.parametrize("case", READ, ids=lambda case: case.file)
def test_a_file_gives_what_the_person_who_has_it_wants(case: Case, tmp_path: Path) -> None:
    rows, record = sealed(configuration(case.ingestion), tmp_path, CASES / case.file)
    assert (rows.height, rows["amount"].sum()) == (case.rows, Decimal(case.amount))
    assert record.reasons == case.reasons
    if case.days:
        assert " ".join(rows["sale_date"].dt.to_string("%d").to_list()) == case.days
    assert record.rows_read == record.rows_valid + record.rows_rejected


@pytest.mark.parametrize("case", READ, ids=lambda case: case.file)
def test_a_file_checked_without_a_pipeline_gives_the_same(case: Case, tmp_path: Path) -> None:
    config = configuration(case.ingestion)
    rows, record = sealed(config, tmp_path, CASES / case.file)
    result = sales_mart.validate(CASES / case.file, config)
    columns = [name for name in rows.columns if name != "source_file"]
    assert result.valid.select(columns).rows() == rows.select(columns).rows()
    assert result.counts == record.reasons
    assert (result.rows_read, result.rows_rejected) == (record.rows_read, record.rows_rejected)


@pytest.mark.parametrize(
    "case",
    [each for each in READ if each.as_frame and "malformed_row" not in each.reasons],
    ids=lambda case: case.file,
)
def test_the_same_table_as_a_frame_and_as_parquet_gives_the_same(
    case: Case, tmp_path: Path
) -> None:
    config = configuration(case.ingestion)
    frame = as_frame(case, config)
    if "$file" in str(case.ingestion):
        config = configuration({"columns": {"transaction_id": ["$row"]}})
    result: Any = sales_mart.validate(frame, config)
    rows, record = sealed(configuration(case.ingestion), tmp_path, CASES / case.file)
    columns = [name for name in rows.columns if name not in {"transaction_id", "source_file"}]
    assert result.valid.select(columns).rows() == rows.select(columns).rows()
    assert result.counts == record.reasons
    as_frame(case, config).write_parquet(tmp_path / "a.parquet")
    others, again = sealed(configuration(case.ingestion), tmp_path / "p", tmp_path / "a.parquet")
    assert others.select(columns).rows() == rows.select(columns).rows()
    assert again.reasons == record.reasons


def as_frame(case: Case, config: Config) -> pl.DataFrame:
    """Return the texts of a file as a frame."""
    given = config.ingestion.format
    text = (CASES / case.file).read_bytes().decode(given.encoding or "utf-8")
    first = text.partition("\n")[0]
    delimiter = given.delimiter or next(each for each in ",;\t|" if each in first)
    return pl.read_csv(io.StringIO(text), separator=delimiter, infer_schema=False)


@pytest.mark.parametrize(
    ("file", "ingestion", "error", "said"),
    [
        (
            "header_names.csv",
            {},
            SourceFormatError,
            "it has Order ID, Item, Price Per Unit, Quantity, Order Date",
        ),
        ("extra_columns.csv", {}, DataError, "has 3 values: EUR, IDR, USD"),
        ("cp1252.csv", {}, SourceFormatError, "looks like Windows-1252"),
        ("lone_cr.csv", {}, SourceFormatError, "lone CR"),
        ("decimal_comma.csv", {}, EmptyInputError, "price_format 3"),
        ("currency.csv", {}, EmptyInputError, "price_format 5"),
        ("no_quantity.csv", {}, SourceFormatError, "lacks quantity"),
        ("no_id.csv", {}, SourceFormatError, "lacks transaction_id"),
        ("line_total.csv", {}, SourceFormatError, "lacks price"),
        (
            "semicolon.csv",
            {"columns": {"product": {"any_of": ["product", "price"]}}},
            SourceFormatError,
            "names both product and price",
        ),
    ],
)
def test_what_the_configuration_does_not_say_is_not_guessed(
    file: str, ingestion: dict[str, Any], error: type[SalesMartError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        sealed(configuration(ingestion), tmp_path, CASES / file)
    assert not list(tmp_path.rglob("seal.json"))


def test_lines_of_one_order_are_told_with_the_key_that_helps(tmp_path: Path) -> None:
    _, record = sealed(configuration({}), tmp_path, CASES / "lines_per_order.csv")
    said = " ".join(record.warnings)
    assert "ingestion.columns.transaction_id: [transaction_id, $row]" in said


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_currencies_that_nothing_keeps_apart_are_refused_in_every_kind(
    kind: str, tmp_path: Path
) -> None:
    row = {"product": "Cup", "price": "7.00", "quantity": "1", "date": "2024-01-05"}
    frame = pl.DataFrame(
        [{"transaction_id": name, **row, "currency": name} for name in ("USD", "EUR")]
    )
    getattr(frame, f"write_{kind}")(tmp_path / "a")
    with pytest.raises(DataError, match="has 2 values: EUR, USD"):
        sealed(configuration({}), tmp_path, tmp_path / "a")
    carried = configuration({"attributes": {"currency": {"role": "currency"}}})
    rows, _ = sealed(carried, tmp_path / "carried", tmp_path / "a")
    assert rows["currency"].to_list() == ["USD", "EUR"]
    # A frame is checked row by row: nothing is added up.
    assert sales_mart.validate(frame, configuration({})).rows_valid == 2


def test_two_delimiters_that_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    # Read with either, all five names are there, and one more that holds the others.
    names = ("transaction_id", "product", "price", "quantity", "date")
    path.write_text(f"{';'.join(names)};{','.join(('x', *names, 'y'))}\n")
    with pytest.raises(SourceFormatError, match="fits several delimiters: comma and semicolon"):
        sealed(configuration({}), tmp_path, path)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_sign_a_scale_a_line_total_and_decimals_together(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "Bon;Pos;Artikel;Menge;Summe;Datum;Mail\n"
        "1;1;Äpfel;0,455;1.234,50 €;5.1.2024;a@x\n"
        "1;2;Birnen;-2;(7,00 €);5.1.2024;\n"
        "2;1;Äpfel;1;0,00 €;6.1.2024;b@x\n"
        "2;;Äpfel;1;1,00 €;6.1.2024;b@x\n",
        encoding="utf-16",
    )
    config = configuration(
        {
            "format": {
                "decimal_separator": ",",
                "thousands": ".",
                "currency_sign": "€",
                "date_format": "%d.%m.%Y",
            },
            "columns": {
                "transaction_id": ["Bon", "Pos"],
                "product": "Artikel",
                "quantity": "Menge",
                "amount": "Summe",
                "date": "Datum",
            },
            "attributes": {"mail": {"from": "Mail", "pii": True}},
            "validation": {"allow_returns": True, "quantity_decimals": 3},
        }
    )
    rows, record = sealed(config, tmp_path, path, block_bytes=size)
    assert rows["amount"].to_list() == [Decimal("1234.50"), Decimal("-7.00"), Decimal("0.00")]
    # 1234.50 / 0.455 = 2713.186…, and 7.00 / 2, each rounded half away from zero.
    assert rows["price"].to_list() == [Decimal("2713.19"), Decimal("3.50"), Decimal("0.00")]
    assert record.reasons == {"missing_transaction_id": 1}
    assert (record.amount, record.quantity) == (Decimal("1227.50"), Decimal("-0.545"))
    token = sales_mart.pseudonymise
    mails = token(pl.DataFrame({"m": ["a@x"]}), ["m"], algorithm="sha256", context="mail")
    assert rows["mail"].to_list()[:2] == [mails["m"][0], None]
    assert record.objects[0].size == path.stat().st_size


def test_parts_of_identifiers_never_run_into_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [("a", "b\x1fc"), ("a\x1fb", "c"), ("a\x1b1b", "c"), ("a\x1b", "1b\x1fc"), ("ab", "c")]
    path.write_text(
        "x,y,product,price,quantity,date\n"
        + "".join(f"{x},{y},Cup,1,1,2024-01-05\n" for x, y in rows)
    )
    made, _ = sealed(configuration({"columns": {"transaction_id": ["x", "y"]}}), tmp_path, path)
    assert made["transaction_id"].n_unique() == len(rows)


def test_rows_without_an_accepted_value_are_rejected_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    states = ("paid", "", "failed", "PAID", "caf\u00e9", "cafe\u0301", "paid ")
    path.write_text(
        "transaction_id,product,price,quantity,date,state\n"
        + "".join(f"T{n},Cup,1,1,2024-01-05,{state}\n" for n, state in enumerate(states))
    )
    attributes = {"state": {"dimension": True, "accepted_values": ["paid", "cafe\u0301"]}}
    rows, record = sealed(configuration({"attributes": attributes}), tmp_path, path)
    assert rows["state"].to_list() == ["paid", "caf\u00e9", "caf\u00e9", "paid"]
    assert record.reasons == {"missing_state": 1, "state_not_accepted": 2}


def test_only_texts_have_accepted_values() -> None:
    with pytest.raises(ConfigurationError, match="accepted_values must be text"):
        configuration({"attributes": {"n": {"type": "integer", "accepted_values": ["1"]}}})


@pytest.mark.parametrize("size", [1, 40, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_fields_that_are_missing_at_the_end_of_a_row_are_empty(
    size: int, end: str, tmp_path: Path
) -> None:
    lines = [
        "transaction_id,product,price,quantity,date,state,note",
        "A",
        "B,Cup,1,1,2024-01-05",
        'C,"Cup, ""blue""",1,2,2024-01-05,sent',
        "D,Cup,1,3,2024-01-05,sent,late",
        "E,Cup,1,3,2024-01-05,sent,late,more",
        'F,"Cup',
        'big",1,4,2024-01-05',
        "G,Cup,1",
    ]
    path = tmp_path / "a.csv"
    path.write_text(end.join(lines), newline="")
    section = {"format": {"jagged_rows": True}, "attributes": {"state": {}, "note": {}}}
    rows, record = sealed(configuration(section), tmp_path, path, block_bytes=size)
    assert rows.select("quantity", "state", "note").rows() == [
        (1, None, None),
        (2, "sent", None),
        (3, "sent", "late"),
        (4, None, None),
    ]
    assert record.reasons == {
        "malformed_row": 1,
        "missing_product": 1,
        "missing_price": 1,
        "missing_quantity": 2,
        "missing_date": 2,
    }
    assert record.objects[0].size == path.stat().st_size
    _, strict = sealed(configuration({}), tmp_path / "strict", path)
    assert strict.rows_valid == 1
