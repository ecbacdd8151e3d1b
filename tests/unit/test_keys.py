"""Which keys are taken: none that can be guessed or that is not used, and each that is random."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sales_mart import Config, validate
from sales_mart.cli import main
from sales_mart.config.file import load_config
from sales_mart.errors import ConfigurationError
from sales_mart.lake.runs import RunFolder
from sales_mart.rows.tokens import Tokeniser, tokeniser
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard
from secrecy import everything_said

if TYPE_CHECKING:
    from collections.abc import Generator

KEY = "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6"
KEYED = Config.model_validate({"security": {"algorithm": "hmac-sha256"}})
SAMPLE = Path(__file__).parents[2] / "samples" / "pipeline_config.yaml"
ROWS = "transaction_id,product,price,quantity,date\nT1,Halal Mouse,20.00,1,2023-10-01\n"

GUESSABLE = {
    "few": ["a" * 32, "ab" * 16, "0" * 64, "x" * 31 + "y", "A" * 43 + "=", "1001101110" * 5],
    "pattern": [
        *("Xy7$kP2m" * 4, "Winter2023" * 4, "abcdefghijklmnopqrstuvwxyz012345"),
        *("0123456789abcdef" * 2, "9876543210" * 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZ123456"),
        *("qwertyuiopasdfghjklzxcvbnm123456", "00112233445566778899aabbccddeeff"),
        *("aabbccddeeffgghhiijjkkllmmnnoopp", "000102030405060708090a0b0c0d0e0f"),
    ],
    "placeholder": [
        *("change-me-change-me-change-me-change-me", "CHANGEME_CHANGEME_CHANGEME_CHANGEME"),
        *(
            "please-change-me-to-something-random-7d1",
            "secret" * 6,
            "MySecretMySecretMySecretMySecret",
        ),
        *("Password12345678901234567890123456", "your-key-here-at-least-32-bytes-long"),
        *("this-is-an-example-key-for-testing-only", "TODO: put a real key here before production"),
        *("todo-todo-todo-todo-todo-todo-todo-todo", "supersecretkeythatislongenough12"),
        *("dev-only-not-for-production-use-1234", "a-key-for-tests-of-more-than-32-bytes"),
        *(
            "replace-with-openssl-rand-base64-48",
            "\uff50\uff41\uff53\uff53word-7Gq2v9Xw3Lk5Tz8Rb4Nc",
        ),
    ],
    "filled in": [
        "$(openssl rand -base64 48 -out x)",
        "<the key of the sales mart stands here>",
    ],
}
SPOILED = {
    "CR": [f"{KEY}\r", f"{KEY}\r\n", f"\r{KEY}"],
    "newline": [f"{KEY}\n\n", f"\n{KEY}"],
    "white space": [f" {KEY}", f"{KEY} ", f"{KEY}\t", f"\u00a0{KEY}", f"{KEY} \n"],
    "BOM": [f"\ufeff{KEY}", f"\ufeff{KEY}\n"],
    "invisible": [f"{KEY}\u200b", f"\0{KEY}", f"\u200e{KEY}"],
    "quotes": [f'"{KEY}"', f"'{KEY}'", f"`{KEY}`", f"\u201c{KEY}\u201d", f'"{KEY}"\n'],
}


@pytest.mark.parametrize("place", ["variable", "file"])
@pytest.mark.parametrize("reason", [*GUESSABLE, *SPOILED])
def test_a_key_that_is_none_is_refused_and_not_shown(
    tmp_path: Path, reason: str, place: str
) -> None:
    path = tmp_path / "key"
    in_file = {"security": {"algorithm": "hmac-sha256", "key_file": str(path)}}
    for key in [*GUESSABLE.get(reason, ()), *SPOILED.get(reason, ())]:
        path.write_bytes(key.encode())
        config = Config.model_validate(in_file) if place == "file" else KEYED
        with pytest.raises(ConfigurationError, match=reason) as caught:
            tokeniser(config, {} if place == "file" else {"PII_HASH_KEY": key})
        said = everything_said(caught.value)
        assert "Rotate a key" in said
        assert "docs/how-to/keys.md" in said
        assert key.strip() not in said, key
        assert KEY not in said


@given(st.binary(min_size=16, max_size=64))
@example(bytes.fromhex("1f0e2d3c4b5a69788796a5b4c3d2e1f0"))
def test_whatever_a_generator_of_random_bytes_makes_is_taken(seed: bytes) -> None:
    """Hypothesis' bytes are far from random, so a digest of them stands for what openssl gives."""
    raw = hashlib.shake_256(seed).digest(max(24, len(seed)))
    for key in (
        raw[:16].hex(),
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        f"{raw.hex()}\n",
    ):
        assert tokeniser(KEYED, {"PII_HASH_KEY": key}).key is not None


def test_keys_of_words_that_nobody_would_guess_are_taken() -> None:
    for key in (
        "Canary+key/of-hmac=sha256 é that no file may hold",
        "vier Pinguine malen blaue Zäune, 1973",
    ):
        assert tokeniser(KEYED, {"PII_HASH_KEY": key}).key is not None


# --- a key, and no algorithm


def test_a_key_without_an_algorithm_is_refused_wherever_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"security:\n  key_file: {tmp_path / 'key'}\n")
    for environ, file in (
        ({"PII_HASH_KEY": KEY}, SAMPLE),
        ({"PII_HASH_KEY": ""}, SAMPLE),
        ({"SALES_MART_SECURITY__KEY_FILE": "/run/key"}, SAMPLE),
        ({"sales_mart_security__key_file": "/run/key"}, SAMPLE),
        ({"SALES_MART_SECURITY": '{"key_file": "/run/key"}'}, SAMPLE),
        ({}, path),
    ):
        config = load_config(file, environ=environ)
        with pytest.raises(ConfigurationError, match=r"security\.algorithm is not") as caught:
            tokeniser(config, environ)
        assert "hmac-sha256" in caught.value.remedy
        assert KEY not in everything_said(caught.value)
        for algorithm, key_id in (("sha256", "sha256"), ("hmac-sha256", "hmac-sha256:")):
            chosen = {**environ, "SALES_MART_SECURITY__ALGORITHM": algorithm, "PII_HASH_KEY": KEY}
            made = tokeniser(load_config(file, environ=chosen), chosen)
            assert made.key_id.startswith(key_id)
    assert tokeniser(load_config(SAMPLE, environ={}), {}) == Tokeniser()


def test_the_library_refuses_a_key_that_it_would_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    with pytest.raises(ConfigurationError, match="would not be used"):
        validate(pl.read_csv(ROWS.encode(), infer_schema=False))


# --- no key, and no algorithm


@pytest.fixture
def loggers() -> Generator[None]:
    """Leave the loggers as they were."""
    names = ("sales_mart", "sales_mart.rows.tokens")
    before = [(each := logging.getLogger(name), each.handlers, each.level) for name in names]
    propagate = before[0][0].propagate
    yield
    for logger, handlers, level in before:
        logger.handlers = handlers
        logger.setLevel(level)
    before[0][0].propagate = propagate


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize("options", [[], ["--quiet"], ["--log-level", "error"]])
def test_plain_tokens_are_warned_of_whatever_is_silenced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    for name in ("PII_HASH_KEY", "SALES_MART_SECURITY__ALGORITHM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        Path(name).write_text(ROWS)
    lake = ["--config", str(SAMPLE), "--lake", "lake", "--run-id", "r", *options]
    day = ["--business-date", "2023-10-05", "--shards", "2"]
    assert main(["plan", *lake, "--source", "*.csv", *day]) == 0
    capsys.readouterr()
    assert main(["validate", *lake]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [warning] = [line for line in lines if line["level"] == "warning"]
    assert re.search("plain sha256.*hmac-sha256", warning["message"])
    assert main(["seal", *lake]) == 0
    for record in ("validate-00000", "validate-00001", "seal"):
        kept = json.loads(Path(f"lake/runs/r/{record}.json").read_text())
        assert kept["warnings"] == [warning["message"]], record


def said(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often it was warned; two handlers may have taken the same record."""
    return len({id(each) for each in caplog.records if "plain sha256" in each.getMessage()})


@pytest.mark.usefixtures("loggers")
def test_the_library_warns_of_plain_tokens_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PII_HASH_KEY", raising=False)
    logging.getLogger("sales_mart").propagate = True
    source = tmp_path / "a.csv"
    source.write_text(ROWS)
    frame = pl.read_csv(source, infer_schema=False)
    lake = str(tmp_path / "lake")
    for config, warnings in (
        (Config(), 1),
        (Config.model_validate({"security": {"algorithm": "sha256"}}), 0),
    ):
        caplog.clear()
        validate(frame, config)
        assert said(caplog) == warnings
        made = plan(
            config, lake, business_date=date(2023, 10, 1), source=str(source), run_id=f"r{warnings}"
        )
        run = RunFolder(lake, made.run_id)
        caplog.clear()
        assert len(validate_shard(config, run, 0).warnings) == warnings
        assert said(caplog) == warnings
        assert len(seal(config, run).warnings) == warnings


# --- the key in the memory of the process

_AS_A_USER = """
import ctypes, os, resource, sys
import sales_mart, sales_mart.__main__, sales_mart.cli
sales_mart.cli.main(["--version"])  # imports what another user may not be able to read
libc = ctypes.CDLL(None)
resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
libc.prctl(4, 1, 0, 0, 0)  # as a process that was started by that user

def seen():
    "What a child without the key learns of its parent, and whether it leaves a core."
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        libc.prctl(4, 1, 0, 0, 0)
        found = []
        for name in ("environ", "mem", "maps"):
            try:
                with open(f"/proc/{os.getppid()}/{name}", "rb") as file:
                    found.append(name if name != "environ" or KEY in file.read() else "")
            except OSError:
                pass
        os.write(into, " ".join(found).encode())
        os._exit(0)
    os.close(into)
    os.waitpid(child, 0)
    return os.read(out, 100).decode()

def core():
    child = os.fork()
    if child == 0:
        os.abort()
    return os.WCOREDUMP(os.waitpid(child, 0)[1])

KEY = os.environ["PII_HASH_KEY"].encode()
print(seen(), core(), flush=True)
sys.argv = ["sales-mart", "--version"]
code = sales_mart.__main__.main()
# What it was given by the shell, as in `--config <(…)`, stays open to the process itself.
out, into = os.pipe()
os.write(into, b"x")
assert open(f"/dev/fd/{out}", "rb").read(1) == b"x"
print(code, repr(seen()), core(), resource.getrlimit(resource.RLIMIT_CORE), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is about /proc of Linux")
def test_no_child_can_read_the_key_and_no_core_holds_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # for the core of another user
    done = subprocess.run(
        [sys.executable, "-c", _AS_A_USER],
        cwd=tmp_path,
        env={**os.environ, "PII_HASH_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    _, before, _, after = done.stdout.splitlines()
    if not before.startswith("environ"):
        pytest.skip("no process can look at another one here")
    assert after == "0 '' False (0, 0)", done.stderr
    assert len(list(tmp_path.glob("core*"))) == before.count("True")


@pytest.mark.skipif(sys.platform != "linux", reason="it is about prctl of Linux")
def test_the_library_leaves_the_process_of_its_user_as_it_is() -> None:
    code = (
        "import ctypes, resource, sales_mart, sales_mart.__main__, sales_mart.cli, polars\n"
        "before = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "frame = polars.DataFrame({n: ['1'] for n in "
        "('transaction_id', 'product', 'price', 'quantity', 'date')})\n"
        "sales_mart.validate(frame)\n"
        "assert sales_mart.cli.main(['--version']) == 0\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == before\n"
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 1\n"
    )
    environ = {name: text for name, text in os.environ.items() if name != "PII_HASH_KEY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, capture_output=True)
