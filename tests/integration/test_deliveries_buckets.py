"""What a delivery is in a bucket: folders, markers and ages, against servers of each kind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sales_mart.config import Config
from sales_mart.errors import NoSourceObjectError, SourceChangedError, SourceNotReadyError
from sales_mart.lake.records import Range
from sales_mart.lake.storage import open_bucket, open_storage
from sales_mart.schema import schema_of
from sales_mart.source.listing import find_objects, list_objects
from sales_mart.source.ranges import cut
from sales_mart.source.read import read_object
from sales_mart.source.ready import Readiness

if TYPE_CHECKING:
    from conftest import Place


def deliver(bucket: str, *names: str) -> None:
    storage = open_storage(bucket)
    for name in names:
        storage.write(name, b"x")


def names(bucket: str, pattern: str, warnings: list[str] | None = None) -> list[str]:
    say = (warnings if warnings is not None else []).append
    return [
        each.uri.removeprefix(f"{bucket}/") for each in list_objects([f"{bucket}/{pattern}"], say)
    ]


def test_a_folder_of_a_bucket_means_what_a_local_one_does(bucket: str) -> None:
    deliver(
        bucket,
        *("in/a.csv", "in/a (1).csv", "in/B.CSV", "in/c.txt", "in/d.csv.part", "in/.hidden.csv"),
        *("in/2024-01/e.csv", "in/.trash/f.csv", "in/_SUCCESS", "in/~$g.xlsx"),
    )
    warnings: list[str] = []
    folder = ["in/B.CSV", "in/a (1).csv", "in/a.csv", "in/c.txt"]
    assert names(bucket, "in", warnings) == folder
    for name in ("d.csv.part (a temp", ".hidden.csv (hid", "2024-01 (a folder", "~$g.xlsx (a lock"):
        assert f"{bucket}/in/{name}" in warnings[0]
    assert names(bucket, "in/**/*", warnings) == ["in/2024-01/e.csv", *folder]
    for name in ("d.csv.part (a temp", ".hidden.csv (hid", ".trash/f.csv (hid", "_SUCCESS (not"):
        assert f"{bucket}/in/{name}" in warnings[1]
    assert names(bucket, "in/*.part") == ["in/d.csv.part"]


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_an_empty_folder_that_a_console_made_is_no_file(place: Place) -> None:
    client: Any = boto3.client("s3", endpoint_url=place.url, region_name="us-east-1")
    for key in ("in/", "in/sales-old/", "day/", "in/sales-1.csv", "in/sales-2.csv"):
        body = b"" if key != "in/sales-1.csv" else b"x"
        client.put_object(Bucket=place.uri.removeprefix("s3://"), Key=key, Body=body)
    # An empty file is one.
    assert names(place.uri, "in/sales*") == ["in/sales-1.csv", "in/sales-2.csv"]
    with pytest.raises(NoSourceObjectError):
        names(place.uri, "day")


def test_a_delivery_of_a_bucket_waits_for_its_markers(bucket: str) -> None:
    deliver(bucket, "in/1/a.csv", "in/1/_SUCCESS", "in/2/b.csv")
    with pytest.raises(SourceNotReadyError, match=r"2/b\.csv \(without _SUCCESS\)"):
        find_objects([f"{bucket}/in/*/*.csv"], readiness=Readiness("_SUCCESS"))
    deliver(bucket, "in/2/_SUCCESS")
    assert len(find_objects([f"{bucket}/in/**/*"], readiness=Readiness("_SUCCESS"))) == 2
    with pytest.raises(SourceNotReadyError, match=r"a\.csv \(without a\.csv\.done\)"):
        find_objects([f"{bucket}/in/1/*.csv"], readiness=Readiness("{file}.done"))
    deliver(bucket, "in/1/a.csv.done")
    assert len(find_objects([f"{bucket}/in/1/*.csv*"], readiness=Readiness("{file}.done"))) == 1


def test_the_age_of_an_object_is_told_by_the_server_s_clock(bucket: str) -> None:
    deliver(bucket, "in/a.csv")
    assert abs(open_bucket(bucket).now() - time.time()) < 5
    now = time.time()
    with pytest.MonkeyPatch.context() as here:
        here.setattr(time, "time", lambda: now + 10_000)
        with pytest.raises(SourceNotReadyError, match=r"a\.csv \(changed [0-9] s ago\)"):
            find_objects([f"{bucket}/in"], readiness=Readiness(minimum_age=3_000))
    time.sleep(2.1)
    assert len(find_objects([f"{bucket}/in"], readiness=Readiness(minimum_age=1))) == 1


def test_a_range_of_an_object_is_read_alone(bucket: str) -> None:
    header = b"transaction_id,product,price,quantity,date\n"
    rows = [b'T%d,"a\n%d",1,1,x\n' % (number, number) for number in range(200)]
    storage = open_storage(bucket)
    storage.write("in/a.csv", header + b"".join(rows))
    (item,) = find_objects([f"{bucket}/in"])
    format_, fields = Config().ingestion.format, schema_of(Config()).fields
    parts = cut(item, fields, format_, [item.size // 2], block_bytes=64)
    assert len(parts) == 2

    def found(part: Range) -> list[tuple[int, str]]:
        blocks = list(read_object(item, fields, format_, part=part))
        products = (text for block in blocks for text in block.fields["product"])
        rows = (int(row) for block in blocks for row in block.places.rows)
        return list(zip(rows, products, strict=True))

    read = [each for part in parts for each in found(part)]
    assert read == [(number + 1, f"a\n{number}") for number in range(200)]
    storage.write("in/a.csv", header + b"".join(reversed(rows)))
    with pytest.raises(SourceChangedError):
        found(parts[1])
