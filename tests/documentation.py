"""The documentation as something to run: code blocks, and one script per page.

What stands in a block is run, in the order of the page, in one folder and one shell. An HTML
comment right above a block says what else there is to know about it:

* `<!-- not run: why -->`: it needs something that a test has not got;
* `<!-- output -->`: not to run, but what the block before it prints; a line `…` stands for any
  lines, and `…` within a line for any text;
* `<!-- exit 65 -->`: it ends with this exit code;
* `<!-- stays up -->`: it runs on while the next block runs;
* `<!-- values -->`: values of the Helm chart, which has to take them.

A block of YAML without a comment is a configuration, which has to load.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {"sh", "python", "yaml", "text", "sql"}
_FENCE = re.compile(r"(?P<indent>[ ]*)(?P<fence>`{3,})(?P<language>\w*)[ ]*")
_MARKER = re.compile(
    r"<!-- (?P<word>not run|output|exit|stays up|values)(?:[: ]+(?P<rest>.+?))? -->"
)
_URL = re.compile(r"postgresql://postgres@127\.0\.0\.1:[^\s'\"]*")
_SECONDS = 120
_KEPT = ("LANG", "LC_ALL", "TZ", "XDG_CACHE_HOME")


class Block(NamedTuple):
    """One fenced block of a page.

    Attributes:
        line: Line of its fence, from 1.
        language: What stands behind the fence.
        text: What stands between the fences, without their indentation.
        marker: First word of the comment above it; empty when there is none.
        rest: What the comment says further.
    """

    page: Path
    line: int
    language: str
    text: str
    marker: str
    rest: str

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is run."""
        return self.language in {"sh", "python"} and self.marker not in {"not run", "output"}


def all_pages() -> list[Path]:
    """List the pages of the documentation."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Find the fenced blocks of a page."""
    found: list[Block] = []
    above = ""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        fence = _FENCE.fullmatch(line)
        if fence is None:
            above = line.strip() or above
            continue
        inside: list[str] = []
        for _, each in lines:
            if each.strip() == fence["fence"]:
                break
            inside.append(each)
        text = textwrap.dedent("\n".join(inside)) + "\n"
        mark = _MARKER.fullmatch(above)
        word, rest = (mark["word"], mark["rest"] or "") if mark else ("", "")
        found.append(Block(page, number, fence["language"], text, word, rest))
        above = ""
    return found


def run_page(page: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Run the blocks of a page in a folder, and compare what they print with what it says."""
    todo = [each for each in blocks(page) if each.runs or each.marker == "output"]
    shell = _Shell(folder, environment)
    try:
        beside = False
        for block in todo:
            if block.marker == "output":
                _compare(block, shell.printed)
                continue
            if not beside:
                shell.stop_background()
            beside = block.marker == "stays up"
            if beside:
                shell.start(block)
            else:
                shell.run(block)
    finally:
        shell.stop_background()


class _Shell:
    """Runs blocks one by one; directory and exported variables pass from one to the next."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._cwd = folder
        self._background: subprocess.Popen[str] | None = None
        self._url = ""
        self.printed = ""

    def run(self, block: Block) -> None:
        """Run a block, which must end as it says."""
        state = self._folder / ".state"
        text = _URL.sub(lambda match: self._url or match[0], block.text)
        if block.language == "python":
            text = f"python - <<'END_OF_SNIPPET'\n{text}END_OF_SNIPPET\n"
        script = f"set -euo pipefail\n{text}\n{{ pwd; env -0; }} >'{state}'\n"
        done = subprocess.run(
            ["bash", "-c", script],
            check=False,
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
        )
        self.printed = done.stdout
        wanted = int(block.rest) if block.marker == "exit" else 0
        message = f"{block.place} ended with {done.returncode}, not {wanted}:\n{done.stdout}"
        assert done.returncode == wanted, message
        if wanted == 0:
            cwd, _, variables = state.read_text().partition("\n")
            pairs = (each.split("=", 1) for each in variables.split("\0") if "=" in each)
            self._cwd, self._environment = Path(cwd), dict(pairs)

    def start(self, block: Block) -> None:
        """Start a block that stays up, and wait until it says so."""
        output = self._folder / ".background"
        with output.open("w") as file:
            self._background = subprocess.Popen(
                ["bash", "-c", f"exec {block.text}"],
                cwd=self._cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        deadline = time.monotonic() + _SECONDS
        while "Ctrl-C" not in (printed := output.read_text()):
            assert self._background.poll() is None, f"{block.place} ended:\n{printed}"
            assert time.monotonic() < deadline, f"{block.place} does not come up:\n{printed}"
            time.sleep(0.1)
        self.printed = printed
        url = _URL.search(printed)
        self._url = url[0] if url else ""

    def stop_background(self) -> None:
        """End what stays up as Ctrl-C does."""
        if self._background is not None:
            self._background.send_signal(signal.SIGINT)
            self._background.wait(_SECONDS)
            self._background = None


def _compare(block: Block, printed: str) -> None:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else f"{_line(line)}\n" for line in _plain_lines(block.text)
    )
    text = "".join(f"{line}\n" for line in _plain_lines(printed))
    found = re.search(f"^{pattern}", text, re.MULTILINE)
    assert found, f"{block.place} is not what was printed:\n{printed}"


def _plain_lines(text: str) -> list[str]:
    """Drop what follows from the width of a column: blanks, rules, empty lines."""
    lines = (re.sub("[─-]{4,}", "──", re.sub(" {2,}", "  ", line)) for line in text.splitlines())
    return [line.strip() for line in lines if line.strip()]


def _line(line: str) -> str:
    return ".*?".join(re.escape(piece) for piece in line.split("…"))


def environment(folder: Path, programs: Sequence[Path]) -> dict[str, str]:
    """Return the variables of a user who has nothing set up but a cache, which all tests share."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = os.pathsep.join([*(str(each) for each in programs), os.environ["PATH"]])
    return {
        **kept,
        "HOME": str(folder),
        "PATH": path,
        "PYTHONWARNINGS": "ignore",
        "TERM": "dumb",
        "TMPDIR": str(folder),
    }
