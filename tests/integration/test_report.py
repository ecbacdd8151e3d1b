"""The report that a run writes: its figures, each reason with a line, and nothing personal."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sales_mart.config import Config
from sales_mart.lake.records import Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.report.figures import Figures
from sales_mart.steps.export import export
from sales_mart.steps.pipeline import run
from secrecy import find_in

if TYPE_CHECKING:
    from collections.abc import Iterator


FIRST, SECOND = date(2023, 11, 4), date(2023, 12, 2)
ID, MAIL = "Canary-0815-identifier", "canary.mail@example.com"
HEADER = "transaction_id,product,price,quantity,date,mail,store,paid_in,boxes\n"
HOSTILE = "<script>alert(1)</script>"
INGESTION: dict[str, Any] = {
    "validation": {"allow_returns": True, "min_price": 1},
    "attributes": {
        "mail": {"pii": True},
        "store": {"dimension": True},
        "paid_in": {"role": "currency"},
        "boxes": {"type": "integer"},
    },
}
DAYS = {
    FIRST: (
        "Tea,10.00,2,2023-11-04,Jakarta,EUR,1",
        "Tea,10.00,-1,2023-11-04,Jakarta,EUR,1",
        "Ink,1000.00,1,2023-11-04,Jakarta,USD,1",
        "Ink,5.00,3,2023-10-31,,EUR,1",
        f"{HOSTILE},7.50,2,2023-11-03,Bandung,EUR,1",
        # Rejected, for five reasons.
        ",10.00,1,2023-11-04,Jakarta,EUR,1",
        "Tea,ten,1,2023-11-04,Jakarta,EUR,1",
        "Tea,10.00,1,04.11.2023,Jakarta,EUR,some",
        "Tea,0.50,1,2023-11-04,Jakarta,EUR,1",
        "Tea,0.50,1,2023-11-04,Jakarta,EUR,1",
    ),
    SECOND: ("Tea,10.00,4,2023-12-01,Jakarta,EUR,1", "Tea,10.00,1,2023-12-02,Jakarta,EUR,x"),
}


class Reported(NamedTuple):
    """Two days, and the page of each."""

    config: Config
    runs: list[RunFolder]
    pages: list[bytes]


def lines(day: date) -> Iterator[str]:
    for ordinal, each in enumerate(DAYS[day]):
        product, price, quantity, sold_on, *others = each.split(",")
        mail = f"{ordinal}.{MAIL}"
        yield ",".join((f"{ID}-{day}-{ordinal}", product, price, quantity, sold_on, mail, *others))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("reported")
    warehouse = {"targets": ["duckdb"], "duckdb": {"path": str(folder / "sales.duckdb")}}
    config = Config.model_validate({"data_warehouse": warehouse, "ingestion": INGESTION})
    runs: list[RunFolder] = []
    pages: list[bytes] = []
    for day in DAYS:
        (folder / f"{day}.csv").write_text(HEADER + "".join(f"{each}\n" for each in lines(day)))
        done = run(
            config,
            str(folder / "lake"),
            business_date=day,
            source=str(folder / "{date}.csv"),
            run_id=f"run-{day}",
        )
        runs.append(RunFolder(str(folder / "lake"), done.run_id))
        pages.append((folder / "lake" / "export" / "report.html").read_bytes())
    return Reported(config, runs, pages)


def figures_of(reported: Reported, ordinal: int) -> Figures:
    return reported.runs[ordinal].read("report", Figures)


def test_sums_are_apart_by_currency_and_net_of_returns(reported: Reported) -> None:
    shown = figures_of(reported, 0)
    assert [(str(each.start), each.currency, each.amount) for each in shown.months] == [
        ("2023-10-01", "EUR", Decimal("15.00")),
        ("2023-11-01", "EUR", Decimal("25.00")),
        ("2023-11-01", "USD", Decimal("1000.00")),
    ]
    euro = shown.totals[0]
    assert (euro.amount, euro.transactions, euro.pieces) == (Decimal("40.00"), 3, 6)
    assert (euro.returned_amount, euro.returned_pieces) == (Decimal("10.00"), 1)
    # The month before had no sale up to its fourth day.
    assert shown.month_before == ()
    assert [(each.currency, each.name, each.amount, each.of) for each in shown.products] == [
        ("EUR", HOSTILE, Decimal("15.00"), 2),
        ("EUR", "Tea", Decimal("10.00"), 2),
        ("USD", "Ink", Decimal("1000.00"), 1),
    ]
    assert [(each.dimension, each.currency, each.name) for each in shown.dimensions] == [
        ("store", "EUR", "Bandung"),
        ("store", "EUR", "Jakarta"),
        ("store", "USD", "Jakarta"),
    ]


def test_each_reason_has_a_line_to_look_at(reported: Reported) -> None:
    seal = reported.runs[0].read("seal", Seal)
    reasons = {name for name, count in seal.reasons.items() if count}
    assert len(reasons) == 5
    shown = figures_of(reported, 0)
    found = {each.reason: [place.line for place in each.lines] for each in shown.rejects}
    assert set(found) == reasons
    assert found["price_too_low"] == [10, 11]
    assert found["boxes_format"] == [9]
    text = reported.pages[0].decode()
    for reason in reasons:
        assert f"quarantine show {reported.runs[0].run_id} --reason {reason}" in text
    assert f"{FIRST}.csv</bdi>, line 10" in text


def test_nothing_personal_is_in_a_report_or_its_figures(reported: Reported) -> None:
    secrets = {"an identifier": ID, "a mail": MAIL}
    for ordinal, text in enumerate(reported.pages):
        assert find_in(text, secrets, "the page") == []
        assert find_in(figures_of(reported, ordinal).to_json(), secrets, "the figures") == []
        assert b"<script" not in text
    assert b"&lt;script&gt;alert(1)" in reported.pages[0]


def test_the_second_day_is_compared_with_the_first(reported: Reported) -> None:
    shown = figures_of(reported, 1)
    assert shown.before is not None
    assert shown.before.run_id == reported.runs[0].run_id
    assert shown.before.totals == figures_of(reported, 0).totals
    assert shown.month_before == ()
    assert [(each.business_date, each.rows_read, each.rows_rejected) for each in shown.quality] == [
        (SECOND, 2, 1)
    ]
    assert [each.before for each in shown.tables] == [5]
    assert b"+40.00 to 80.00 in all" in reported.pages[1]


def test_the_same_run_gives_the_same_bytes(reported: Reported) -> None:
    """Also when the run has taken another time since, as one that is started again does."""
    place, name = reported.runs[1].lake, reported.runs[1].name("run.json")
    changed = re.sub(rb'"transform": [0-9.]+', b'"transform": 99.0', place.read(name))
    assert b"99.0" in changed
    place.write(name, changed)
    record = export(reported.config, reported.runs[1])
    assert place.read("export/report.html") == reported.pages[1]
    manifest = json.loads(place.read("export/manifest.json"))
    assert manifest["report"] == "report.html"
    assert record.run_id == manifest["run_id"]
