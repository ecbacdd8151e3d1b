"""A file that is cut into ranges is read as the whole file is, wherever and however it is cut."""

from __future__ import annotations

import gzip
import random
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.fuzz import SEEDS, mutate
from sales_mart.config import Config
from sales_mart.errors import SalesMartError, SourceChangedError
from sales_mart.lake.parquet import read_part
from sales_mart.lake.records import Part, Range, Seal, SourceObject, Validate
from sales_mart.lake.runs import RunFolder
from sales_mart.schema import FIELDS, schema_of
from sales_mart.source.csv_reader import Account
from sales_mart.source.listing import find_objects
from sales_mart.source.ranges import Uncut, cut
from sales_mart.source.read import read_object
from sales_mart.steps.pipeline import _validate  # pyright: ignore[reportPrivateUsage]
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.shards import make_shards
from sales_mart.steps.validate import step_name
from sales_mart.synthetic.generate import generate

COLUMNS = schema_of(Config()).fields
FORMATS: tuple[dict[str, Any], ...] = (
    {},
    {"jagged_rows": True},
    {"escape": "\\"},
    {"quote": None},
    {"header": list(FIELDS), "delimiter": ","},
    {"header": list(FIELDS), "skip_rows": 1},
)
ENCODINGS = ("utf-8", "utf-8", "utf-16", "utf-16-le", "cp1252")
_ROWS = (
    b"T1,a,1,1,x\n",
    b'"T2","b, c",1,1,x\n',
    b'T3,"of\n\nseveral\r\nlines",1,1,x\r\n',
    b'T4,"stray,1,1,x\n',
    b'T5,stray",1,1,x\n',
    b'"""",d,1,1,\n',
    b"\n",
    b" \t\r\n",
    b",\n",
    b"\xff,e,1,1,x\n",
    b"T6,\xc3\xa9\\,f,1,1,x\n",
    b'T7,"\n',
    b'\n",g,1,1,x\n',
)


class _Whole(NamedTuple):
    """What the reader finds: records with their places, and where the other bytes are."""

    good: list[tuple[Any, ...]]
    broken: list[tuple[Any, ...]]
    account: Account


def _read(
    item: SourceObject, config: Config, parts: tuple[Range | None, ...], block_bytes: int
) -> _Whole:
    good: list[tuple[Any, ...]] = []
    broken: list[tuple[Any, ...]] = []
    total = Account()
    for part in parts:
        account = Account()
        for block in read_object(
            item,
            COLUMNS,
            config.ingestion.format,
            block_bytes=block_bytes,
            account=account,
            part=part,
        ):
            places = zip(*vars(block.places).values(), strict=True)
            good += [(*row, *where) for row, where in zip(block.fields.rows(), places, strict=True)]
            broken += zip(*vars(block.broken).values(), block.flaws, strict=True)
        for name, count in vars(account).items():
            setattr(total, name, getattr(total, name) + count)
    return _Whole(good, broken, total)


def _drawn(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return mutate(chance.choice(SEEDS), chance)
    rows = b"".join(chance.choices(_ROWS, k=chance.randint(1, 40)))
    return b"transaction_id,product,price,quantity,date\n" + rows[: -chance.randint(0, 1) or None]


@given(st.randoms(use_true_random=False))
def test_any_cut_of_any_file_is_read_as_the_whole(chance: random.Random) -> None:
    data, given_format = _drawn(chance), dict(chance.choice(FORMATS))
    encoding = chance.choice(ENCODINGS)
    if encoding != "utf-8":
        data = data.decode("latin-1").encode(encoding, "replace")
        given_format["encoding"] = encoding
    config = Config.model_validate({"ingestion": {"format": given_format}})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(data)
        if not data:
            return
        (item,) = find_objects([str(path)])
        near = sorted(chance.choices(range(1, len(data) + 1), k=chance.randint(1, 9)))
        try:
            whole = _read(item, config, (None,), 1 << 20)
            failed = None
        except SalesMartError as error:
            whole, failed = None, error
        try:
            parts = cut(
                item,
                COLUMNS,
                config.ingestion.format,
                near,
                block_bytes=chance.choice((1, 5, 20, 60)),
            )
        except Uncut:
            assert failed is not None or (whole is not None and not (whole.good or whole.broken))
            return
        if failed is None:
            assert _read(item, config, parts, chance.choice((1, 30, 1 << 20))) == whole
        else:
            with pytest.raises(type(failed)):
                _read(item, config, parts, 1 << 20)


def test_a_file_is_cut_at_each_of_its_records(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbftransaction_id,product,price,quantity,date\n" + b"".join(_ROWS))
    (item,) = find_objects([str(path)])
    format_ = Config().ingestion.format
    parts = cut(item, COLUMNS, format_, range(1, item.size), block_bytes=1)
    assert len(parts) >= 8
    assert _read(item, Config(), parts, 1) == _read(item, Config(), (None,), 1)


@pytest.mark.parametrize("place", [3, -3])
def test_a_range_of_another_file_is_not_read(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.csv"
    data = bytearray(b"transaction_id,product,price,quantity,date,note\n" + b"T1,a,1,1,x,y\n" * 9)
    path.write_bytes(data)
    (item,) = find_objects([str(path)])
    parts = cut(item, COLUMNS, Config().ingestion.format, [60], block_bytes=20)
    data[place] ^= 1
    if place > 0:  # another header that has the columns, too
        data[:48] = b"transaction_id,price,product,quantity,date,note\n"
    path.write_bytes(data)
    with pytest.raises(SourceChangedError):
        _read(item, Config(), parts[-1:], 1 << 20)


def _sealed(folder: Path, source: Path, shards: int) -> tuple[Seal, dict[str, list[Any]], int]:
    config = Config()
    made = plan(
        config,
        str(folder),
        source=str(source),
        business_date=date(2023, 10, 1),
        shards=shards,
        range_bytes=400,
    )
    run = RunFolder(str(folder), made.run_id)
    _validate(config, run, made, workers=2)
    sealed = seal(config, run)

    def rows(parts: tuple[Part, ...]) -> list[Any]:
        return [row for part in parts for row in read_part(run, part).rows()]

    found = {"valid": rows(sealed.valid), "quarantine": sorted(rows(sealed.quarantine), key=str)}
    return sealed, found, len(made.shards)


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_a_run_comes_to_the_same_however_many_shards_it_has(tmp_path: Path, shards: int) -> None:
    source = tmp_path / "raw"
    source.mkdir()
    for number, rows in enumerate((40, 300, 90)):
        with (source / f"{number}.csv").open("wb") as file:
            file.writelines(generate(rows, seed=number, valid_share=0.6))
    whole, expected, one = _sealed(tmp_path / "whole", source, 1)
    sealed, found, several = _sealed(tmp_path / "cut", source, shards)
    assert (one, several) == (1, shards)
    assert found == expected
    names = {"valid", "quarantine", "warnings"}
    assert sealed.model_dump(exclude=names) == whole.model_dump(exclude=names)


def test_an_error_of_one_worker_ends_the_others(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    with source.open("wb") as file:
        file.writelines(generate(300))
    day = date(2023, 10, 1)
    lake = str(tmp_path / "lake")
    made = plan(Config(), lake, source=str(source), business_date=day, shards=9, range_bytes=400)
    assert len(made.shards) == 9
    source.write_bytes(source.read_bytes().replace(b"2023-1", b"2024-1"))
    run = RunFolder(lake, made.run_id)
    with pytest.raises(SourceChangedError):
        _validate(Config(), run, made, workers=2)
    assert not any(run.find(step_name(shard), Validate) for shard in range(9))


def test_the_plan_says_what_is_left_whole_and_why(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    data = b"".join(generate(300))
    (folder / "a.csv").write_bytes(data)
    (folder / "b.csv.gz").write_bytes(gzip.compress(data))
    (folder / "c.csv").write_bytes(b"no header\n" * 2000)
    (folder / "d.csv").write_bytes(data[:300])
    made = plan(
        Config(),
        str(tmp_path / "lake"),
        source=str(folder),
        business_date=date(2023, 10, 1),
        shards=9,
        range_bytes=400,
    )
    assert set(made.ranges) == {0}
    assert made.whole == {1: "it is compressed", 2: "its header cannot be read"}


def test_a_run_takes_no_more_shards_than_there_are_bytes_for(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    with source.open("wb") as file:
        file.writelines(generate(300))
    size = source.stat().st_size
    objects = find_objects([str(source)])
    for least, expected in ((size, 1), (size // 2, 2), (size // 3, 3), (1, 4)):
        made = make_shards(Config(), objects, 4, shard_bytes=least, range_bytes=400)
        assert len(made.shards) == expected
