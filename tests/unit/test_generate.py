"""Generated files: exact, repeatable, and with every kind of fault."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from datetime import date
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from backports import zstd

import oracle
from sales_mart.config import Config
from sales_mart.errors import ConfigurationError
from sales_mart.synthetic import cases
from sales_mart.synthetic.generate import generate, write

if TYPE_CHECKING:
    from pathlib import Path


def configuration(*, trust_input: bool = False, **rules: object) -> Config:
    return Config.model_validate({"ingestion": {"trust_input": trust_input, "validation": rules}})


HALAL = configuration(min_price="10", product_prefix="Halal")


def checked(config: Config, rows: int, **options: Any) -> list[oracle.Checked]:
    options.setdefault("valid_share", 0.6)
    data = b"".join(generate(rows, config=config, **options))
    return list(oracle.settle(oracle.check_file(data, config), {}, config))


def valid(results: list[oracle.Checked]) -> int:
    return sum(not result.reasons for result in results)


@pytest.mark.parametrize(
    ("rows", "share", "expected"),
    [(0, 0.6, 0), (1, 0, 0), (1, 1, 1), (10, 0.1, 1), (997, 0.6, 598), (5000, 0.6, 3000)],
)
@pytest.mark.parametrize("seed", [0, 1, -7, 1 << 70])
def test_exactly_so_many_rows_are_valid(rows: int, share: float, expected: int, seed: int) -> None:
    results = checked(HALAL, rows, valid_share=share, seed=seed)
    assert len(results) == rows
    assert valid(results) == expected


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        configuration(trust_input=True, product_prefix="Halal"),
        configuration(required_fields=["transaction_id", "date"]),
        configuration(max_decimals=0, min_price="99.5", max_quantity=1),
        configuration(max_decimals=9, min_price="999999999.999999999"),
        configuration(product_prefix='a,"b\n'),
        configuration(product_prefix="清真 "),
        configuration(product_prefix="M"),
    ],
)
def test_under_any_rules(config: Config) -> None:
    assert valid(checked(config, 2000, seed=3, products=3)) == 1200


def test_every_reason_shows_among_a_few_dozen_invalid_rows() -> None:
    reasons = Counter(chain.from_iterable(each.reasons for each in checked(HALAL, 150, seed=5)))
    # A row that repeats an identifier is another row in all else, too.
    assert set(reasons) == {*oracle.REASONS} - {"duplicate_transaction_id"}


def test_rare_faults_stay_rare() -> None:
    results = checked(HALAL, 10_000)
    broken = sum("malformed_row" in v.reasons or "encoding" in v.reasons for v in results)
    # Eight of them, each one in two hundred of the invalid rows.
    assert broken == 8 * 4000 // 200


def test_the_bytes_do_not_depend_on_the_chunks() -> None:
    whole = b"".join(generate(1000, seed=4))
    assert b"".join(generate(1000, seed=4, chunk_rows=7)) == whole
    assert b"".join(generate(1000, seed=5)) != whole


def test_days_and_products() -> None:
    start = date(2024, 2, 28)
    results = checked(HALAL, 20_000, start=start, days=3, products=5)
    rows = [oracle.typed(each, HALAL) for each in results if not each.reasons]
    assert {row.sale_date for row in rows} == {start, date(2024, 2, 29), date(2024, 3, 1)}
    products = {row.product for row in rows}
    assert len(products) == 5
    assert "Halal Charger, black" in products


def test_valid_rows_have_edges() -> None:
    lines = b"".join(generate(20_000, config=HALAL)).splitlines()
    for edge in (b'"Halal', b",00", b"  Halal", "\u00a0".encode(), b"\t"):
        assert any(edge in line for line in lines)


@pytest.mark.parametrize(
    "wrong",
    [{"rows": -1}, {"valid_share": 1.1}, {"days": 0}, {"products": 0}, {"start": date.max}],
)
def test_arguments_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        generate(**cast("dict[str, Any]", {"rows": 10, **wrong}))
    assert "Give a value from" in caught.value.remedy


@pytest.mark.parametrize(
    "rules",
    [
        {"min_price": "999999999999999999"},
        {"product_prefix": " Halal"},
        {"product_prefix": f"H{cases.OWN}"},
    ],
)
def test_rules_that_no_row_can_meet(rules: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        generate(10, config=configuration(**rules))


def test_write(tmp_path: Path) -> None:
    data = b"".join(generate(100))
    readers = {"a.csv": bytes, "a.csv.gz": gzip.decompress, "a.csv.zst": zstd.decompress}
    for name, read in readers.items():
        path = tmp_path / "new" / name
        assert write(path, generate(100)) == path.stat().st_size
        assert read(path.read_bytes()) == data
    first = (tmp_path / "new" / "a.csv.gz").read_bytes()
    write(tmp_path / "b.csv.gz", generate(100))
    assert (tmp_path / "b.csv.gz").read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(readers)


def test_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="could not be written"):
        write(tmp_path / "file" / "a.csv", generate(10))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigurationError, match="could not be written"):
        write(tmp_path / "folder.csv", generate(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_write_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write(tmp_path / "link.csv", [b"abc"])
    assert (tmp_path / "real.csv").read_bytes() == b"abc"
    assert (tmp_path / "link.csv").is_symlink()


def test_write_replaces_nothing_but_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    for name in (".", "", "pipe", "circle"):
        with pytest.raises(ConfigurationError):
            write(Path(name), [b"abc"])
    assert Path("pipe").is_fifo()
