"""What keeps the read API safe, quick and truthful: keys, limits, and one publication an answer."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests
import yaml

from api_server import serving
from conformance.subject import D1, D2, Subject
from faulty import wire
from sales_mart.api.keys import add_key
from sales_mart.api.server import listening_at
from sales_mart.cli import main
from sales_mart.warehouses.base import names
from support import row
from targets import Target
from warehouses import stored_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_server import Api
    from sales_mart.config import Config

TRENDS = "/sales/trends?month=2023-10"
ROWS = [row("T1", D1), row("T2", D2, "5.25", 3)]
READERS = 100
WANTED = 'Bearer, Basic realm="sales_mart"'


@pytest.fixture
def shown(config: Config, lake: Path) -> Subject:
    """Return a DuckDB with a publication: the quickest of the warehouses."""
    subject = Subject("duckdb", config, lake)
    subject.published("a", ROWS)
    return subject


def at_once(count: int, ask: Callable[[], requests.Response]) -> list[requests.Response]:
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [each.result() for each in [pool.submit(ask) for _ in range(count)]]


def test_a_hundred_readers_cost_one_question(shown: Subject) -> None:
    with serving(shown.config, shown.name) as api:
        assert api.get("/health").status_code == 200
        answers = at_once(READERS, lambda: requests.get(api.url + TRENDS, timeout=30))
        assert {each.status_code for each in answers} == {200}
        assert len({each.content for each in answers}) == 1
        for _ in range(READERS):
            assert api.get(TRENDS).content == answers[0].content
        assert api.get("/sales/trends?by=day&month=2023-10").content == answers[0].content
        assert api.metric("sales_mart_api_queries_total") == 1
        asked = 'sales_mart_api_requests_total{path="/sales/trends",status="200"}'
        assert api.metric(asked) == 2 * READERS + 1


def test_a_client_that_has_the_answer_is_told_so(shown: Subject) -> None:
    with serving(shown.config, shown.name, refresh_seconds=7) as api:
        first = api.get(TRENDS)
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, max-age=7"
        assert first.headers["sales-mart-run"] == "a"
        for given in (tag, f'"x", W/{tag}', "*"):
            again = api.get(TRENDS, If_None_Match=given)
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert api.get(TRENDS, If_None_Match='"x"').status_code == 200
        head = api.session.head(api.url + TRENDS, headers={"Accept-Encoding": "identity"})
        assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")
        assert head.headers["content-length"] == str(len(first.content))
        assert api.get(TRENDS, Accept="text/csv").headers["etag"] != tag
        assert api.get(TRENDS, Accept="image/png").status_code == 406
        refused = api.session.post(api.url + TRENDS)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_a_long_answer_is_packed_for_whoever_takes_that(config: Config, lake: Path) -> None:
    subject = Subject("duckdb", config, lake)
    subject.published("a", [row(f"T{n}", f"2023-10-{n:02}") for n in range(1, 32)])
    with serving(config, subject.name) as api:
        plain, packed = api.get(TRENDS), api.get(TRENDS, Accept_Encoding="gzip")
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < len(plain.content) / 4
        assert packed.content == plain.content
        assert packed.headers["etag"] != plain.headers["etag"]
        assert "Accept-Encoding" in packed.headers["vary"]


def test_only_known_keys_are_answered_and_not_too_often(shown: Subject, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    one, two = (add_key(file, name) for name in ("one", "two"))
    assert file.stat().st_mode & 0o077 == 0
    assert one not in file.read_text()
    limits = {"keys_file": str(file), "requests_per_minute": 3}
    with serving(shown.config, shown.name, **limits) as api:
        basic = [f"Basic {b64encode(each.encode()).decode()}" for each in (one, "x:y", f"{one}:")]
        bearer = ["Bearer", f"Bearer {one}x", "Bearer é"]
        for given in (None, one, f"Basic {one}", "Basic é", *basic, *bearer):
            headers = {} if given is None else {"Authorization": given.encode()}
            answer = api.session.get(api.url + TRENDS, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, WANTED)
        for path in ("/metrics", "/openapi.json", "/", "/nothing"):
            assert api.get(path).status_code == 401
        for path in ("/health", "/health/live", "/health/ready"):
            assert [api.get(path).status_code for _ in range(5)] == [200] * 5
        mine = {"Authorization": f"Bearer {one}"}
        assert [api.get(TRENDS, **mine).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = api.get(TRENDS, **mine)
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert api.get(TRENDS, Authorization=f"bearer {two}").status_code == 200
        # As a browser sends it, whoever the user says to be.
        page = api.session.get(api.url, auth=("an analyst", two))
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        # A key that is taken out of the file is unknown from then on.
        lines = file.read_text().splitlines()
        file.write_text(f"{lines[0]}\n")
        deadline = time.monotonic() + 20
        while api.get(TRENDS, Authorization=f"Bearer {two}").status_code != 401:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_without_keys_it_is_for_this_computer(shown: Subject) -> None:
    with serving(shown.config, shown.name) as api:
        assert api.get(TRENDS, Host="rebound.example:80").status_code == 403
        assert api.get(TRENDS, Host="localhost").status_code == 200
        assert api.get(TRENDS, Host="[::1]:8000").status_code == 200
        assert api.get(TRENDS, Host="127.0.0.5").status_code == 200
        assert api.get(TRENDS, Host="127.0.0.1.rebound.example").status_code == 403


def test_what_nobody_may_reach_is_not_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(*arguments: str) -> dict[str, Any]:
        assert main([*arguments, "-ojson"]) == 2
        return json.loads(capsys.readouterr().out)["error"]

    monkeypatch.chdir(tmp_path)
    serve = ("serve", "--target", "duckdb", "--host", "0.0.0.0")  # noqa: S104 - it is refused
    assert "without keys" in error(*serve)["message"]
    assert "no file is named" in error("api-key", "one")["message"]
    monkeypatch.setenv("SALES_MART_API__KEYS_FILE", "keys")
    assert "is missing" in error(*serve)["message"]
    assert main(["api-key", "one"]) == 0
    key = capsys.readouterr().out.strip()
    assert "has a key named one" in error("api-key", "one")["message"]
    assert "cannot be the name" in error("api-key", "a b")["message"]
    line = Path("keys").read_text()
    for wrong in (key, f"{line}{line}", "\n", "one:abc\n", "é"):
        Path("keys").write_text(wrong)
        found = error(*serve)
        assert key not in str(found)
        assert "sales-mart api-key" in found["remedy"]
    Path("keys").write_text(line)
    with closing(listening_at("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "cannot be listened at" in error("serve", "--port", port)["message"]


def test_before_the_first_publication_there_is_no_answer(config: Config) -> None:
    with serving(config, "duckdb") as api:
        assert api.get("/health/ready").status_code == 200
        answer = api.get(TRENDS)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"] == "Nothing has been published yet."
        assert api.metric("sales_mart_api_warehouse_up") == 1


def test_a_warehouse_that_is_away_leaves_what_was_kept(config: Config, lake: Path) -> None:
    subject = Subject(Target.POSTGRES, config, lake)
    subject.published("a", ROWS)
    postgres = config.data_warehouse.postgres
    with wire(postgres.port) as proxy:
        behind = postgres.model_copy(update={"port": proxy.port})
        warehouse = config.data_warehouse.model_copy(update={"postgres": behind})
        through = config.model_copy(update={"data_warehouse": warehouse})
        with serving(through, subject.name) as api:
            before = api.get(TRENDS)
            assert before.status_code == 200
            proxy.fault(b"", "drop", times=1_000)
            deadline = time.monotonic() + 30
            while "age" not in (kept := api.get(TRENDS)).headers:
                assert time.monotonic() < deadline
                assert kept.status_code == 200
                time.sleep(0.1)
            assert (kept.status_code, kept.content) == (200, before.content)
            assert kept.headers["etag"] == before.headers["etag"]
            assert kept.headers["warning"].startswith("111 ")
            assert kept.headers["cache-control"] == "private, no-cache"
            while int(api.get(TRENDS).headers["age"]) < 1:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            refused = api.get("/sales/products")
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["detail"] == "The warehouse does not answer. Ask again later."
            assert api.get("/health/ready").json() == {"status": "ready", "stale": True}
            assert api.metric("sales_mart_api_warehouse_up") == 0
            proxy.faults.clear()
            while api.get("/sales/products").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert "age" not in api.get(TRENDS).headers


def test_a_question_that_takes_too_long_is_given_up_alone(
    config: Config, lake: Path, postgres_server: str
) -> None:
    subject = Subject(Target.POSTGRES, config, lake)
    subject.published("a", ROWS)
    table = stored_table(config, subject.name, "sales_by_date")
    with (
        serving(config, subject.name, query_seconds=2) as api,
        psycopg.connect(postgres_server) as locker,
    ):
        locker.execute(f"lock table {table}".encode())
        answer = api.get(TRENDS)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert api.get("/health/ready").json()["stale"] is False
        assert api.get("/sales/products").status_code == 200
        locker.rollback()
        assert api.get(TRENDS).status_code == 200


def test_a_warehouse_that_was_never_there_makes_it_not_ready(config: Config) -> None:
    with wire(1) as proxy:
        proxy.fault(b"", "drop", times=1_000)
        postgres = config.data_warehouse.postgres.model_copy(update={"port": proxy.port})
        warehouse = config.data_warehouse.model_copy(update={"postgres": postgres})
        away = config.model_copy(update={"data_warehouse": warehouse})
        with serving(away, Target.POSTGRES) as api:
            assert api.get("/health/live").status_code == 200
            for path in ("/health", "/health/ready", TRENDS):
                answer = api.get(path)
                assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
                assert str(proxy.port) not in answer.text


def test_readers_of_duckdb_are_in_no_runs_way(shown: Subject) -> None:
    with serving(shown.config, shown.name) as api, shown.warehouse.session():
        assert api.get(TRENDS).status_code == 200
        assert api.get("/runs").status_code == 200


@pytest.mark.parametrize("target", names())
def test_every_answer_is_of_one_publication(config: Config, lake: Path, target: str) -> None:
    """Two publications follow each other under readers whose questions no kept answer fits."""
    subject = Subject(target, config, lake)
    contents = {
        "a": ROWS,
        "b": [row("T1", D1, "7.00", 9), row("T3", D2), row("T4", "2023-10-09", "0.01")],
    }
    totals = {
        name: f"{sum((each.price or 0) * (each.quantity or 0) for each in rows):.2f}"
        for name, rows in contents.items()
    }
    subject.published("a", contents["a"])
    stop, seen, wrong = threading.Event(), Counter[str](), list[str]()

    def read(api: Api, first: int) -> None:
        with requests.Session() as session:
            for number in range(first, 10_000, 2):
                if stop.is_set():
                    return
                path = f"{TRENDS}&by=month" if number % 4 < 2 else "/sales/summary?month=2023-10"
                answer = session.get(f"{api.url}{path}&limit={number}", timeout=60)
                if answer.status_code != 200:
                    wrong.append(answer.text)
                    continue
                run, tag = answer.headers["sales-mart-run"], answer.headers["etag"]
                told = [each["total_amount"] for each in answer.json(parse_float=str)]
                if told != [totals[run]]:
                    wrong.append(f"{run}: {told}")
                seen[f"{run} {tag.rpartition('-')[0]}"] += 1

    with serving(config, target) as api, concurrent.futures.ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, api, first) for first in (1, 2)]
        try:
            for name in ("b", "a", "b"):
                subject.published(name, contents[name])
                deadline = time.monotonic() + 120
                while api.get(TRENDS).headers["sales-mart-run"] != name:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
        finally:
            stop.set()
        for reader in readers:
            reader.result()
    assert wrong == []
    # Four publications, each with a tag of its own.
    assert len({each.partition(" ")[2] for each in seen}) == 4
    assert {each[0] for each in seen} == {"a", "b"}


def test_what_is_under_way_is_answered_before_the_process_ends(
    config: Config, lake: Path, tmp_path: Path, postgres_server: str
) -> None:
    subject = Subject(Target.POSTGRES, config, lake)
    subject.published("a", ROWS)
    table = stored_table(config, subject.name, "sales_by_date")
    settings = config.model_dump(mode="json", by_alias=True)
    password = config.data_warehouse.postgres.password
    assert password is not None
    settings["data_warehouse"]["postgres"]["password"] = password.get_secret_value()
    file = tmp_path / "pipeline_config.yaml"
    file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "sales_mart", "serve", "--port", "0", "-ojson", "-c", file]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert process.stdout is not None
        document = ""
        while not document.endswith("}\n"):
            document += process.stdout.readline()
        url = json.loads(document)["address"]
        assert requests.get(url + "/health", timeout=30).status_code == 200
        with (
            psycopg.connect(postgres_server) as locker,
            concurrent.futures.ThreadPoolExecutor(1) as pool,
        ):
            locker.execute(f"lock table {table}".encode())
            waiting = pool.submit(requests.get, url + TRENDS, timeout=30)
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert process.poll() is None
            with pytest.raises(requests.ConnectionError):
                requests.get(url + "/health", timeout=5)
            locker.rollback()
            assert waiting.result().status_code == 200
        _, log = process.communicate(timeout=30)
        assert process.returncode == 143
        assert "GET /sales/trends 200" in log
        assert "Traceback" not in log
    finally:
        process.kill()
        process.communicate()
