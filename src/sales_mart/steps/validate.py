"""Step `validate`: every row checked, identifiers made tokens, rejected rows kept with reasons."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import polars as pl

from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.lake.parquet import (
    PartWriter,
    as_quarantine,
    broken_rows,
    place_columns,
    record_bytes,
)
from sales_mart.lake.records import ObjectBytes, Validate
from sales_mart.progress import advance
from sales_mart.rows.characters import seems_alike
from sales_mart.rows.checker import Checker, count_reasons
from sales_mart.rows.sums import ValidTotals
from sales_mart.rows.tokens import tokeniser, warn_of_plain_tokens
from sales_mart.schema import schema_of
from sales_mart.source.csv_reader import BLOCK_BYTES, ENCODING, Account, Block
from sales_mart.source.encoding import Decodable
from sales_mart.source.objects import open_object
from sales_mart.source.read import read_object
from sales_mart.steps.plan import open_run
from sales_mart.steps.shards import piece_bytes, pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sales_mart.config import Config
    from sales_mart.lake.records import SourceObject
    from sales_mart.lake.runs import RunFolder

__all__ = ["POSITION_COLUMNS", "check_encoding", "step_name", "validate_shard"]

POSITION_COLUMNS = ("line", "byte_offset", "byte_length", "line_end")

_WINDOWS = "cp1252"

T = TypeVar("T")


def step_name(shard: int) -> str:
    """Name of the record of a shard."""
    return f"validate-{shard:05d}"


def validate_shard(
    config: Config,
    run: RunFolder,
    shard: int,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Validate:
    """Check the rows of one shard and write its valid and quarantine parts.

    Args:
        config: The configuration of the plan.
        run: The run's folder, with its plan.
        shard: Number of the shard in the plan, from 0.
        block_bytes: Bytes to check at a time.

    Returns:
        The shard's counts and parts, as written to `validate-<shard>.json`.

    Raises:
        ConfigurationError: There is no plan or no such shard, the configuration is another one,
            or the key is missing, weak, or given without an algorithm.
        SourceChangedError: An object is not the one that was planned.
        SourceFormatError: An object is not a CSV file with the columns of a transaction.
        EmptyInputError: An object has no header, and the plan does not allow that.
    """
    plan = open_run(config, run)
    if not 0 <= shard < len(plan.shards):
        msg = f"run {run.run_id} has no shard {shard}"
        raise ConfigurationError(msg, remedy=f"Shards are numbered 0 to {len(plan.shards) - 1}.")
    tokens = tokeniser(config)
    checker = Checker(config, tokens)
    schema = schema_of(config)
    grouped_by = schema.grain[0]
    totals, reasons = ValidTotals(), Counter[str]()
    read = rejected_rows = 0
    objects: list[ObjectBytes] = []
    currencies: set[str] = set()
    decoded: list[tuple[int, int, int]] = []
    warnings = warn_of_plain_tokens(config)
    with run.temporary(step_name(shard)) as folder:
        valid = PartWriter(run, folder, f"valid/{shard:05d}")
        positions = PartWriter(run, folder, f"positions/{shard:05d}")
        quarantine = PartWriter(run, folder, f"quarantine/{shard:05d}")
        for ordinal, part in pieces_of(plan, shard):
            item = plan.objects[ordinal]
            account, valid_bytes, rejected_bytes, alike = Account(), 0, 0, 0
            before, coded = read, 0
            pieces = read_object(
                item,
                schema.fields,
                config.ingestion.format,
                block_bytes=block_bytes,
                warn=warnings.append,
                account=account,
                allow_empty=plan.allow_empty,
                part=part,
            )
            told = _told(account, piece_bytes(item, part))
            with closing(_ahead(pieces)) as blocks, told as tell:
                for block in blocks:
                    currencies |= block.currencies
                    good, bad = _check_block(checker, block, item, ordinal)
                    valid_bytes += record_bytes(good)
                    rejected_bytes += record_bytes(bad)
                    alike += seems_alike(good[grouped_by])
                    coded += int((block.flaws & ENCODING > 0).sum())
                    valid.add(good.select(column.name for column in schema.valid))
                    named = ("source_uri",) * bool(block.member)
                    positions.add(good.select(*POSITION_COLUMNS, *named))
                    quarantine.add(as_quarantine(bad, schema))
                    totals.add(checker.totals(good))
                    reasons.update(count_reasons(bad))
                    read += good.height + bad.height
                    rejected_rows += bad.height
                    tell(good.height + bad.height)
            if part is not None:
                decoded.append((ordinal, coded, read - before))
            elif not plan.allow_empty:
                check_encoding(item, config, coded, read - before)
            if alike:
                warnings.append(
                    f"{item.uri}: {alike} valid rows have an invisible character in their "
                    f"{grouped_by}, which makes it another {grouped_by} than the one that looks "
                    "the same"
                )
            objects.append(
                ObjectBytes(
                    object=ordinal,
                    size=account.size,
                    header=account.header,
                    blank=account.blank,
                    valid=valid_bytes,
                    rejected=rejected_bytes,
                    unplaced=account.unplaced,
                )
            )
        for writer in (valid, positions, quarantine):
            writer.flush()
    record = Validate(
        run_id=run.run_id,
        shard=shard,
        rows_read=read,
        rows_rejected=rejected_rows,
        reasons=dict(sorted(reasons.items())),
        **totals.fields,
        key_id=tokens.key_id,
        valid=tuple(valid.parts),
        quarantine=tuple(quarantine.parts),
        positions=tuple(positions.parts),
        objects=tuple(objects),
        currencies=tuple(sorted(currencies)),
        decoded=tuple(decoded),
        warnings=tuple(warnings),
    )
    run.write(step_name(shard), record)
    return record


@contextmanager
def _told(account: Account, size: int) -> Generator[Callable[[int], None]]:
    """Tell how far an object is, or a range of one; what it gives takes rows that are done."""
    done = 0

    def tell(rows: int) -> None:
        nonlocal done
        before, done = done, min(account.stored, size)
        advance(done - before, rows)

    yield tell
    advance(size - done)


def check_encoding(item: SourceObject, config: Config, failed: int, rows: int) -> None:
    """Refuse an object of which most rows are in another encoding: all of it is, then.

    Of an object that is cut only `seal` knows how many they are.

    Raises:
        SourceFormatError: Most rows could not be decoded.
    """
    if 2 * failed <= rows:
        return
    encoding = config.ingestion.format.encoding or "UTF-8"
    msg = f"{item.uri}: {failed} of {rows} rows are not {encoding}"
    remedy = "Set ingestion.format.encoding to the encoding of the file."
    if _is_decodable(item, _WINDOWS):
        msg += f"; all of it looks like Windows-1252 ({_WINDOWS})"
        remedy = f"Set ingestion.format.encoding: {_WINDOWS}, if the texts look right with it."
    raise SourceFormatError(msg, remedy=remedy)


def _is_decodable(item: SourceObject, encoding: str) -> bool:
    text = Decodable(encoding)
    with open_object(item) as stream:
        while piece := stream.read(BLOCK_BYTES):
            text.feed(piece)
    return text.ends_well()


def _check_block(
    checker: Checker, block: Block, item: SourceObject, ordinal: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a block into valid rows, and rejected rows in the order of the file."""
    where = pl.lit(ordinal, pl.Int32).alias("source_file")
    fields = block.fields.with_columns(place_columns(block.places))
    valid, rejected = checker.check(fields.lazy().with_columns(where), block.typed)
    uri = pl.lit(f"{item.uri}!{block.member}" if block.member else item.uri).alias("source_uri")
    broken = broken_rows(block).with_columns(where)
    quarantine = pl.concat([rejected, broken], how="diagonal").with_columns(uri)
    if broken.height:
        quarantine = quarantine.sort("source_row")
    return valid.with_columns(uri), quarantine


def _ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Work on the next item in a thread while the caller works on this one."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                ready.put((item, None))
                if stopped.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 - handed to the caller's thread
            error = raised
        finally:
            items.close()
        ready.put((None, error))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (entry := ready.get())[0] is not None:
            yield entry[0]
        if entry[1] is not None:
            raise entry[1]
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                ready.get(timeout=0.05)
            except queue.Empty:
                continue
