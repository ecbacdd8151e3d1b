"""The read API over the marts of a real run, in each warehouse."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import html5lib
import pytest

from api_server import serving
from browser import WIDTHS, check_page, chromium
from sales_mart.lake.disk import temporary_folder
from sales_mart.names import RETURNED
from sales_mart.steps.pipeline import run
from sales_mart.warehouses.base import names, open_warehouse
from secrecy import find_in
from support import token
from warehouses import fresh_config

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from api_server import Api
    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers

ID, MAIL = "Canary-0815-identifier", "canary.person@example.com"
HEADER = "transaction_id,product,price,quantity,date,store,paid_in,email"
ROWS = f"""
{ID}-1,Tea,1.10,3,2023-10-01,North,EUR,{MAIL}
{ID}-2,Tea,2.20,-1,2023-10-02,South,EUR,
{ID}-3,"Ink, blue",1000.05,2,2023-10-02,North,USD,a{MAIL}
{ID}-4,Tea,3.30,1,2023-11-05,,EUR,{MAIL}
{ID}-5,Émile's teapot,20.01,7,2023-11-05,North,,{MAIL}
{ID}-6,tea cup,0.03,1,2023-11-30,South,EUR,{MAIL}
""".strip()
REJECTED = f"""
{ID}-7,,1.00,1,2023-10-01,North,EUR,{MAIL}
{ID}-8,Tea,cheap,1,2023-10-01,North,EUR,{MAIL}
{ID}-9,Tea,1.00,1,2023-10-99,North,EUR,{MAIL}
""".strip()
ATTRIBUTES = {
    "store": {"dimension": True},
    "paid_in": {"role": "currency"},
    "email": {"pii": True},
}
PERIOD = "from=2023-09-30&to=2023-12-01"
PATHS = (
    *(
        f"/sales/trends?by={by}&{PERIOD}{more}"
        for by in ("day", "month")
        for more in ("", "&product=Tea")
    ),
    *("/sales/products", "/sales/products?search=tea&month=2023-10", "/sales/summary"),
    *("/sales/dimensions/store", "/runs", "/runs/first", "/quality"),
    *("/", "/?month=2023-10&product=Tea&dimension=store", "/?month=1999-01"),
    *("/health", "/health/live", "/metrics", "/openapi.json", "/sales/trends", "/nothing"),
    *("/runs/none", f"/sales/products?search={MAIL}", f"/{ID}", f"/runs/{ID}", f"/runs?x={MAIL}"),
)


class Site(NamedTuple):
    """A configuration whose marts are published, and what was exported."""

    config: Config
    exports: Path


@pytest.fixture(scope="module")
def site(servers: LocalServers) -> Generator[Site]:
    """Load and publish the rows in every warehouse."""
    settings = fresh_config(servers, allow_returns=True).model_dump(by_alias=True)
    settings["ingestion"]["attributes"] = ATTRIBUTES
    config = type(fresh_config(servers)).model_validate(settings)
    with temporary_folder("sales-mart-test-api") as folder:
        source = folder / "sales.csv"
        source.write_text(f"{HEADER}\n{ROWS}\n{REJECTED}\n", encoding="utf-8")
        run(
            config,
            str(folder / "lake"),
            source=str(source),
            business_date=date(2023, 12, 1),
            targets=names(),
            run_id="first",
        )
        yield Site(config, folder / "lake" / "export")


@pytest.fixture(scope="module", params=names())
def api(site: Site, request: pytest.FixtureRequest) -> Generator[Api]:
    """Serve each of the warehouses, one after the other."""
    with serving(site.config, request.param) as running:
        yield running


def added_up(key: str, **only: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Add the rows up in Python: by day, month or product, and by currency."""
    found: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 5)
    for row in csv.DictReader(io.StringIO(f"{HEADER}\n{ROWS}\n")):
        if any(row[name] != value for name, value in only.items()):
            continue
        keys = {"day": row["date"], "month": f"{row['date'][:7]}-01", "product": row["product"]}
        keys["store"] = row["store"]
        price, quantity = Decimal(row["price"]), Decimal(row["quantity"])
        amount, is_sale = price * quantity, quantity > 0
        adds = (amount, quantity, int(is_sale), max(-amount, 0), max(-quantity, 0))
        sums = found[keys[key], row["paid_in"]]
        sums[:] = [one + Decimal(other) for one, other in zip(sums, adds, strict=True)]
    return {
        name: (f"{each[0]:.2f}", int(each[1]), int(each[2]), f"{each[3]:.2f}", int(each[4]))
        for name, each in found.items()
    }


def told(rows: list[dict[str, Any]], key: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    columns = ("total_amount", "total_quantity", "transaction_count", *RETURNED)
    return {
        (row[key] or "", row["paid_in"] or ""): tuple(row[name] for name in columns) for row in rows
    }


def means(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {(row["product"], row["paid_in"]): row["avg_price"] for row in rows}


def test_the_summary_is_what_was_exported_to_the_byte(api: Api, site: Site) -> None:
    forms = {
        "json": "application/json",
        "csv": "text/csv",
        "parquet": "application/vnd.apache.parquet",
    }
    for form, kind in forms.items():
        answer = api.get("/sales/summary", Accept=kind)
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert answer.content == (site.exports / f"summary_sales.{form}").read_bytes()
    whole = api.rows("/sales/summary")
    october = api.rows("/sales/summary?month=2023-10&paid_in=EUR")
    assert october == [
        row for row in whole if (row["sale_month"], row["paid_in"]) == ("2023-10-01", "EUR")
    ]
    assert api.rows("/sales/summary?from=2023-10&to=2023-11") == whole


def test_trends_are_exact_by_day_and_month_and_for_one_product(api: Api) -> None:
    for by in ("day", "month"):
        found = api.rows(f"/sales/trends?by={by}&{PERIOD}")
        assert told(found, "period") == added_up(by)
        assert [row["period"] for row in found] == sorted(row["period"] for row in found)
        for name in ("Tea", "Ink, blue", "Émile's teapot", "Tea' or 'a' = 'a", "Tea\\"):
            found = api.rows(f"/sales/trends?by={by}&{PERIOD}&product={name}")
            assert told(found, "period") == added_up(by, product=name)
    assert told(api.rows("/sales/trends?month=2023-11&paid_in=EUR"), "period") == {
        key: sums for key, sums in added_up("day", paid_in="EUR").items() if key[0] > "2023-11"
    }


def test_the_best_products_come_first_within_their_currency(api: Api, site: Site) -> None:
    found = api.rows("/sales/products")
    assert told(found, "product") == added_up("product")
    places = [(row["paid_in"] or "~", -Decimal(row["total_amount"])) for row in found]
    assert places == sorted(places)
    exported = json.loads((site.exports / "summary_sales.json").read_text(), parse_float=str)
    of_october = [row for row in exported if row["sale_month"] == "2023-10-01"]
    assert means(api.rows("/sales/products?month=2023-10")) == means(of_october)
    assert [row["product"] for row in api.rows("/sales/products?search=TEA&paid_in=EUR")] == [
        "Tea",
        "tea cup",
    ]
    assert api.rows("/sales/products?search=%25") == []


def test_pages_follow_one_another(api: Api) -> None:
    whole = api.rows("/sales/products")
    paged: list[dict[str, Any]] = []
    path: str | None = "/sales/products?limit=2"
    while path:
        answer = api.get(path)
        paged += answer.json(parse_float=str)
        path = answer.links.get("next", {}).get("url")
    assert paged == whole
    assert "link" not in api.get(f"/sales/products?limit={len(whole)}").headers


def test_a_dimension_has_all_sales_once(api: Api) -> None:
    found = api.rows("/sales/dimensions/store")
    assert {row["dimension"] for row in found} == {"store"}
    by_value: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in found:
        by_value[row["value"] or "", row["paid_in"] or ""] += Decimal(row["total_amount"])
    assert {key: f"{total:.2f}" for key, total in by_value.items()} == {
        key: sums[0] for key, sums in added_up("store").items()
    }
    assert api.get("/sales/dimensions/email").status_code == 404


def tables(page: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table of a page, by what it is called."""
    document = html5lib.parse(page, namespaceHTMLElements=False)
    return {
        place.get("aria-label") or "": [
            [" ".join("".join(cell.itertext()).split()) for cell in row]
            for row in place.iter("tr")
            if row.find("td") is not None
        ]
        for place in document.iter("div")
        if place.get("role") == "region"
    }


def written(rows: list[dict[str, Any]], currency: str) -> list[str]:
    """Return the amounts in a currency as people read them."""
    found = [Decimal(row["total_amount"]) for row in rows if row["paid_in"] == currency]
    return [f"{each:,.2f}".replace("-", "\N{MINUS SIGN}") for each in found]


def test_the_front_page_shows_what_the_answers_say_for_what_is_chosen(api: Api) -> None:
    newest = api.get("/").text
    assert "Sales in November 2023" in newest
    assert newest == api.get("/?month=2023-11&product=&dimension=").text
    for month, product in (("2023-11", ""), ("2023-10", ""), ("2023-10", "Tea")):
        chosen = f"month={month}" + (f"&product={product}" if product else "")
        found = tables(api.get(f"/?{chosen}").text)
        days = api.rows(f"/sales/trends?{chosen}&by=day")
        until = f"from=2023-10-01&to={month}-30&by=month"
        months = api.rows(f"/sales/trends?{until}{f'&product={product}' if product else ''}")
        best = api.rows(f"/sales/products?month={month}")
        stores = api.rows(f"/sales/dimensions/store?month={month}&paid_in=EUR")
        in_euro = {
            "Sales by day as a table EUR": written(days[::-1], "EUR"),
            "Sales by month as a table EUR": written(months[::-1], "EUR"),
            "Best products as a table EUR": written(best, "EUR"),
        }
        for title, amounts in in_euro.items():
            column = 2 if title.startswith("Best") else 1
            assert [row[column] for row in found[title]] == amounts
        stores.sort(key=lambda row: -Decimal(row["total_amount"]))
        ranked = written(stores, "EUR")
        assert [row[2] for row in found["By store as a table EUR"]] == ranked
        # The best are those of all sales, and so are their shares.
        whole = tables(api.get(f"/?month={month}").text)
        assert found["Best products as a table EUR"] == whole["Best products as a table EUR"]


def test_the_front_page_says_when_there_is_nothing(api: Api) -> None:
    for chosen, said in (
        ("month=1999-03", "Nothing was sold in March 1999."),
        ("product=No+<b>such&month=2023-10", "Nothing was sold of"),
    ):
        answer = api.get(f"/?{chosen}")
        assert answer.status_code == 200
        assert said in answer.text
        assert "<b>such" not in answer.text
        assert "November 2023</option>" in answer.text
    for chosen in ("month=2023-13", "month=0000-01", "dimension=email", "product=%00", "x=1"):
        answer = api.get(f"/?{chosen}")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_front_page_is_kept_and_packed_like_every_answer(api: Api) -> None:
    first = api.get("/", Accept="application/json")
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    queries = api.metric("sales_mart_api_queries_total")
    packed = api.get("/", Accept="text/html", Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == first.content
    assert api.get("/", If_None_Match=first.headers["etag"]).status_code == 304
    assert api.metric("sales_mart_api_queries_total") == queries


def test_the_front_page_in_a_browser_with_and_without_script(site: Site) -> None:
    with serving(site.config, "duckdb") as api, chromium() as browser:
        for width in WIDTHS:
            check_page(browser, f"{api.url}/?month=2023-10&dimension=store", width)
        for has_script in (True, False):
            page = browser.new_page(java_script_enabled=has_script)
            page.goto(api.url)
            page.locator("select[name=month]").select_option("2023-10")
            if not has_script:
                page.get_by_role("button", name="Show").click()
            page.wait_for_url("**month=2023-10**")
            assert page.title() == "Sales in October 2023"
            query = "month=2023-10" if has_script else "month=2023-10&product=&dimension="
            assert page.url == f"{api.url}/?{query}"
            page.locator("input[name=product]").fill("Tea")
            page.locator("input[name=product]").press("Enter")
            page.wait_for_url("**product=Tea**")
            assert page.title() == "Sales in October 2023: Tea"
            page.get_by_text("All of them").click()
            page.wait_for_url(lambda url: "product=Tea" not in url)
            page.close()


def test_runs_and_rejected_rows_are_told(api: Api) -> None:
    (loaded,) = api.rows("/runs")
    assert {name: loaded[name] for name in ("run_id", "mode", "rows_read", "rows_rejected")} == {
        "run_id": "first",
        "mode": "replace",
        "rows_read": 9,
        "rows_rejected": 3,
    }
    assert loaded["published_at"].endswith("+00:00")
    assert api.rows("/runs/first") == [loaded]
    told = [(row["reason"], row["rows_rejected"]) for row in api.rows("/quality?run_id=first")]
    assert told == [(None, 3), ("date_format", 1), ("missing_product", 1), ("price_format", 1)]
    assert api.rows("/quality?limit=1&offset=3") == api.rows("/quality")[3:]
    assert api.rows("/quality?run_id=none") == []
    assert api.metric('sales_mart_api_rejected_rows{reason="price_format"}') == 1
    assert api.metric('sales_mart_api_rows{mart="sales_by_date"}') == 6
    assert 0 <= api.metric("sales_mart_api_publication_age_seconds") < 600
    assert api.metric("sales_mart_api_warehouse_up") == 1


def test_no_personal_value_is_in_an_answer_a_metric_or_the_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = {"an identifier": ID, "an address": MAIL, "a token": token(f"{ID}-1")}
    with caplog.at_level(logging.DEBUG, "sales_mart"):
        answers = [api.get(path) for path in PATHS]
    assert {each.status_code for each in answers} == {200, 404, 422}
    for answer in answers:
        assert find_in(answer.content + str(answer.headers).encode(), secrets, answer.url) == []
    said = "\n".join(str(vars(each)) for each in caplog.records)
    assert "GET /sales/products 200" in said
    assert find_in(said, secrets, "the log") == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sales/trends", 422),
        ("/sales/trends?month=2023-13", 422),
        ("/sales/trends?month=0000-01", 422),
        ("/sales/trends?month=2023-10&from=2023-10-01&to=2023-10-02", 422),
        ("/sales/trends?from=2023-10-01", 422),
        ("/sales/trends?from=2023-10-02&to=2023-10-01", 422),
        ("/sales/trends?from=2023-02-30&to=2023-03-01", 422),
        ("/sales/trends?from=2022-01-01&to=2023-10-01", 422),
        ("/sales/trends?from=2001-01-01&to=2023-10-01&by=month", 422),
        ("/sales/trends?month=2023-10&by=year", 422),
        ("/sales/trends?month=2023-10&month=2023-10&Product=Tea", 422),
        ("/sales/products?limit=0", 422),
        ("/sales/products?limit=10001", 422),
        ("/sales/products?offset=10000001", 422),
        ("/sales/products?search=", 422),
        ("/sales/products?search=%00", 422),
        ("/sales/products?search=%FF%FE", 200),
        ("/runs/..%2F..%2Fetc", 404),
        ("/runs/-x", 404),
        ("/docs", 404),
    ],
)
def test_what_cannot_be_asked_is_refused_as_a_problem(api: Api, path: str, status: int) -> None:
    answer = api.get(path)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem.keys() <= {"type", "title", "status", "detail", "errors"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


def test_the_schema_of_an_answer_names_the_columns_of_the_mart(api: Api, site: Site) -> None:
    document = api.get("/openapi.json").json()
    content = document["paths"]["/sales/summary"]["get"]["responses"]["200"]["content"]
    row = content["application/json"]["schema"]["items"]
    warehouse = open_warehouse(site.config, names()[0])
    mart = next(each for each in warehouse.marts if each.name == "summary_sales")
    assert list(row["properties"]) == [column.name for column in mart.columns]
    assert row["properties"]["total_amount"]["type"] == "number"
    assert row["properties"]["paid_in"]["type"] == ["string", "null"]
