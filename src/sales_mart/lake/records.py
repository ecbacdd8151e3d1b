"""What each step wrote down: small JSON records, the only thing that steps pass to one another."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from typing import Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from sales_mart.marts import Mart
from sales_mart.rows.sums import Sums, Totals

__all__ = [
    "Agreement",
    "Export",
    "ExportedFile",
    "Load",
    "Mode",
    "NodeResult",
    "ObjectBytes",
    "Part",
    "Plan",
    "Publish",
    "Range",
    "Reconcile",
    "Record",
    "Run",
    "Seal",
    "SourceObject",
    "TargetTransform",
    "Transform",
    "Validate",
]


class Mode(StrEnum):
    """How a run changes the raw table: the whole truth, or one business date of it."""

    REPLACE = "replace"
    APPEND = "append"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_NAMES_IN_1 = {
    "valid": "clean",
    "rows_valid": "rows_clean",
    "rows_rejected": "rows_quarantined",
    "excluded": "outside_marts",
    "rows_excluded": "rows_outside_marts",
    "hidden_rows": "yielded_rows",
}
"""Fields that records of version 1 call otherwise."""
_NAMES_SINCE_1 = {old: new for new, old in _NAMES_IN_1.items()}
_NOT_IN_1 = ("objects", "allow_empty", "currency", "currencies")


class Record(_Frozen):
    """Base of the records; `schema_version` changes when a field's name or meaning does.

    A record of version 1, which 0.1 wrote, is read, and written as it was: loads know a seal by
    the digest of its JSON.
    """

    schema_version: Literal[1, 2] = 2
    run_id: str

    @model_validator(mode="before")
    @classmethod
    def _read_version_1(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("schema_version") != 1:
            return fields
        known = cast("dict[str, Any]", fields)
        return {_NAMES_SINCE_1.get(name, name): value for name, value in known.items()}

    @model_serializer(mode="wrap")
    def _write_its_version(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        if self.schema_version != 1:
            return fields
        return {
            _NAMES_IN_1.get(name, name): value
            for name, value in fields.items()
            if value or name not in _NOT_IN_1
        }

    def to_json(self) -> bytes:
        """Return the record as indented UTF-8 JSON that ends with a newline."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the record's JSON, 64 hex characters."""
        return hashlib.sha256(self.to_json()).hexdigest()


class SourceObject(_Frozen):
    """One source file.

    Its `digest` is `sha256:<hex>` on a disk, `generation:<n>` on gs://, and `etag:<tag>` on s3://
    and az://.
    """

    uri: str
    size: int = Field(ge=0, description="bytes as stored, so compressed if the object is")
    digest: str
    name: str = Field(
        default="", description="path below what the sources have in common: what `$file` is"
    )


class Range(_Frozen):
    """Some whole records of an object, which one shard reads, and what was found before them."""

    header: int = Field(ge=0, description="bytes before the first record, which are read as well")
    first_line: int = Field(description="line on which the first record of the object may start")
    delimiter: str
    begin: int = Field(description="byte offset of the first byte")
    end: int = Field(description="byte offset behind the last byte")
    line: int = Field(description="line on which the range begins, from 1")
    row: int = Field(description="number of its first record in the object, from 1")
    digest: str = Field(
        description="`sha256:<hex>` of the header and the range; in a bucket the object's own"
    )


class Plan(Record):
    """Step `plan`: which objects make this run, in which shards, under which configuration."""

    business_date: date
    mode: Mode
    source: str
    objects: tuple[SourceObject, ...]
    shards: tuple[tuple[int, ...], ...] = Field(
        description="ordinals into `objects`; an object that is cut stands once for each range"
    )
    ranges: dict[int, tuple[Range, ...]] = Field(
        default={}, description="ordinal of an object that is cut → its ranges, in order"
    )
    whole: dict[int, str] = Field(
        default={}, description="ordinal of a large object that is not cut → why"
    )
    config_digest: str
    allow_empty: bool = Field(
        default=False, description="whether an input may leave the marts without a row"
    )
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_object_in_one_shard(self) -> Self:
        times = [len(self.ranges.get(each, (None,))) for each in range(len(self.objects))]
        if sorted(chain(*self.shards)) != list(Counter(dict(enumerate(times))).elements()):
            msg = "the shards do not hold each object once"
            raise ValueError(msg)
        for ordinal, ranges in self.ranges.items():
            bounds = [(ranges[0].header, *(each.end for each in ranges))]
            bounds.append((*(each.begin for each in ranges), self.objects[ordinal].size))
            if bounds[0] != bounds[1]:
                msg = "the ranges of an object do not follow each other up to its end"
                raise ValueError(msg)
        return self


class Part(_Frozen):
    """One Parquet file of the run, named relative to the run's folder."""

    name: str
    rows: int
    size: int
    sha256: str


class ObjectBytes(_Frozen):
    """Where the bytes of one source object's decompressed stream went."""

    object: int = Field(description="ordinal into `objects` of the plan")
    size: int = Field(description="bytes of the decompressed stream")
    header: int = Field(description="byte order mark and header, with its line end")
    blank: int = Field(description="blank lines, with their line ends")
    valid: int = Field(description="valid rows, with their line ends")
    rejected: int = Field(description="rejected rows, with their line ends")
    unplaced: int = Field(
        default=0, description="files whose rows stand at no byte: Parquet, workbooks"
    )

    @property
    def unaccounted(self) -> int:
        """Bytes of the stream that stand nowhere; 0 when every byte is accounted for."""
        known = self.header + self.blank + self.valid + self.rejected + self.unplaced
        return self.size - known


class _Rows(Record):
    rows_read: int
    rows_valid: int
    rows_rejected: int
    reasons: dict[str, int] = Field(description="rejected rows by reason; a row may have many")
    excluded: dict[str, int] = Field(
        description="valid rows that no mart shows, by reason; a row may have many"
    )
    rows_excluded: int = Field(description="valid rows that no mart shows, each once")


class _Counts(Totals, _Rows):
    key_id: str
    valid: tuple[Part, ...]
    quarantine: tuple[Part, ...]
    warnings: tuple[str, ...] = ()

    @property
    def shown(self) -> Sums:
        """The sums over the rows that the marts show."""
        return self.sums(self.rows_valid - self.rows_excluded)


class Validate(_Counts):
    """Step `validate`: one shard's rows, checked and tokenised; duplicates not settled yet."""

    shard: int
    objects: tuple[ObjectBytes, ...] = Field(description="bytes of each object of the shard")
    positions: tuple[Part, ...] = Field(description="line and bytes of each row of `valid`")
    currencies: tuple[str, ...] = Field(
        default=(), description="values of a column called currency that is not carried"
    )
    decoded: tuple[tuple[int, int, int], ...] = Field(
        default=(),
        description="of each range: ordinal of its object, rows that are not in the encoding, rows",
    )


class Seal(_Counts):
    """Step `seal`: the input is closed, its rows counted for good, its parts listed."""

    business_date: date
    mode: Mode
    config_digest: str
    allow_empty: bool = Field(
        default=False, description="whether an input may leave the marts without a row"
    )
    sale_dates: tuple[date, ...] = Field(description="distinct and ascending")
    objects: tuple[ObjectBytes, ...] = Field(default=(), description="bytes of each object")
    currency: str | None = Field(
        default=None,
        description="the one value of a column called currency that is not carried; null if there "
        "is no such column",
    )


class Load(Record):
    """Step `load`: the run's rows stand in the raw table of one warehouse."""

    target: str
    mode: Mode
    sequence: int = Field(description="1 for the first load of the target, then one more each")
    rows: int = Field(description="rows that this run added, of those that the raw table shows")
    hidden_rows: int = Field(
        default=0,
        description="rows of this run that are superseded: a later business date has their "
        "transaction_id",
    )
    removed_rows: int | None = Field(
        default=None,
        description="visible rows that are gone: of the day's earlier delivery, or of all days "
        "before a snapshot; null where version 0.1 loaded",
    )
    superseded_rows: int | None = Field(
        default=None, description="rows of earlier loads that this one superseded"
    )
    shown_again_rows: int | None = Field(
        default=None,
        description="rows that are visible again, since what superseded them is not delivered "
        "any more",
    )
    visible_rows: int | None = Field(
        default=None, description="rows that the raw table shows after the load"
    )
    window: tuple[date, ...] | None = Field(
        description="sale dates whose rows changed, ascending; None when all may have changed"
    )
    seal_digest: str
    rules: dict[str, JsonValue] | None = Field(
        default=None, description="reason to reject a row → the rule's value; null: no such rule"
    )
    rejects: dict[str, int] | None = Field(
        default=None, description="rejected rows of the run by reason"
    )
    rows_read: int | None = Field(default=None, description="rows of the run's input")
    rows_rejected: int | None = Field(
        default=None, description="rejected rows of the run, each once"
    )
    loaded_at: datetime
    already_loaded: bool = Field(default=False, exclude=True)


class NodeResult(_Frozen):
    """One dbt node of one target: a model or a test."""

    unique_id: str
    status: str
    seconds: float
    failures: int | None = None
    message: str | None = None
    tests: str | None = Field(default=None, description="model that a test is about")
    compiled_path: str | None = None
    bytes_billed: int | None = None


class TargetTransform(_Frozen):
    """What dbt built and tested in one warehouse, where no reader looks."""

    target: str
    sequence: int
    window: tuple[date, ...] | None
    nodes: tuple[NodeResult, ...]
    seconds: float
    built: dict[str, str] = Field(
        description="table → what tells it apart from others of that name"
    )
    full_refresh: bool = Field(
        default=False, description="all marts were built anew, to be published in any case"
    )
    marts: tuple[Mart, ...] = Field(default=(), description="what dbt's manifest says of each")


class Transform(Record):
    """Step `transform`: the next marts of every target are built and tested."""

    targets: tuple[TargetTransform, ...]


class _Compared(_Frozen):
    targets: tuple[str, ...]
    days: int = Field(description="sale dates compared")
    rows: int


class Agreement(Totals, _Compared):
    """What `reconcile` found the same everywhere."""


class Reconcile(Agreement, Record):
    """Step `reconcile`: the next marts agree with each other and with the seal."""

    sequences: dict[str, int]
    facts: dict[str, dict[date, Sums]] = Field(
        default={},
        description="target → sale date → rows and sums of the next facts",
    )
    marts: dict[str, dict[str, tuple[int, Decimal]]] = Field(
        default={}, description="target → rows and checksum of each other next mart"
    )


class Publish(Record):
    """Step `publish`: the marts that readers see are the ones of this run."""

    rows: dict[str, dict[str, int]] = Field(description="target -> mart -> rows visible")
    published_at: datetime = Field(description="when the last of the targets changed")


class ExportedFile(_Frozen):
    """One file of an export."""

    name: str
    rows: int
    size: int
    sha256: str


class Export(Record):
    """Step `export`: the summary as files, and the manifest that lists them."""

    destination: str
    target: str
    files: tuple[ExportedFile, ...]


class Run(Record):
    """The whole pipeline in one process: how long each step took."""

    seconds: dict[str, float]
