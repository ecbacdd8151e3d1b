"""Readers who poll the marts and the export throughout, and notice what no reader may see."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from published import digests, match_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .site import Site

__all__ = ["Readers", "State", "polling"]

EXPORT = "the export"
_PAUSES = {"postgres": 0.1, "bigquery": 0.5, "duckdb": 0.2}
"""Seconds between two looks at the marts of a warehouse."""


class State(NamedTuple):
    """What readers see after an undisturbed run."""

    marts: dict[str, str]
    """A digest of the contents of all marts, by warehouse."""
    exported: dict[str, str]


class Readers:
    """Compares every look at the site with the states that it may be in.

    A state is allowed once it has been announced; a reader who has seen a later one must not see
    an earlier one again.
    """

    def __init__(self, site: Site, first: State) -> None:
        self._site = site
        self._states = [first]
        self._lock = threading.Lock()
        self.looks: Counter[str] = Counter()
        self.found: list[str] = []
        self.ended = threading.Event()

    def announce(self, state: State) -> None:
        """Allow one more state, later than the others."""
        with self._lock:
            self._states.append(state)

    def complaints(self) -> list[str]:
        """Return what was found since the last call."""
        with self._lock:
            found, self.found = self.found, []
        return found

    def poll(self, place: str, pause: float) -> None:
        """Look at one place again and again, until the readers are told to end."""
        look = self._look_at_export if place == EXPORT else partial(self._look_at_marts, place)
        at = 0
        while not self.ended.is_set():
            try:
                seen = look(at)
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is a finding
                text = " ".join(str(error).split())[:200]
                self._complain(f"a reader of {place} met {type(error).__name__}: {text}")
                seen = at
            self.looks[place] += 1
            if seen is None:
                self._complain(f"a reader of {place} saw what no run had made")
            else:
                at = seen
            time.sleep(pause)

    def _complain(self, text: str) -> None:
        with self._lock:
            self.found.append(text)

    def _index(self, at: int, holds: Callable[[State], bool]) -> int | None:
        with self._lock:
            states = list(enumerate(self._states))
        return next((number for number, state in states[at:] if holds(state)), None)

    def _look_at_marts(self, target: str, at: int) -> int | None:
        seen = self._site.marts(target)
        return self._index(at, lambda state: state.marts[target] == seen)

    def _look_at_export(self, at: int) -> int | None:
        """Each file is whole at any time; files that the manifest lists are of one run."""
        before, files = self._site.files(), self._site.files()
        if before != files:
            return at  # they are being replaced; two looks that are alike are one moment
        seen = digests(files)
        whole = self._index(at, lambda state: state.exported == seen)
        if whole is not None:
            return whole
        with self._lock:
            later = self._states[at:]
        whole_files = all(
            any(state.exported.get(name) == found for state in later)
            for name, found in seen.items()
        )
        is_missing = len(seen) != len(later[0].exported)
        return at if whole_files and not is_missing and not match_manifest(files) else None


@contextmanager
def polling(site: Site, first: State) -> Generator[Readers]:
    """Let readers look at a site while the context lasts."""
    readers = Readers(site, first)
    threads = [
        threading.Thread(target=readers.poll, args=(place, pause), daemon=True)
        for place, pause in ((EXPORT, 0.02), *((target, _PAUSES[target]) for target in first.marts))
    ]
    for thread in threads:
        thread.start()
    try:
        yield readers
    finally:
        readers.ended.set()
        for thread in threads:
            thread.join(60)
