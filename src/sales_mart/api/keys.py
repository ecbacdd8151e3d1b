"""Keys of the API's clients: random, told once, and kept as hashes.

A line of the file is `name:hash`, the hash that of SHA-256 in hex. A key has 256 bits, so nobody
finds it by guessing, and a slow hash would protect nothing more.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.lake.disk import disk_errors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Keys", "add_key"]

_PREFIX = "smk_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE = re.compile(rf"(?P<name>{_NAME.pattern}):(?P<hash>[0-9a-f]{{64}})")
_SECONDS = 1.0
"""How often the file is looked at: a key that is taken out of it ends within this time."""


class Keys:
    """The keys of a file, which is read again when it has changed."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigurationError: It is missing, holds no key, or a line that is none.
        """
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamp = self._mark()
        self._names = _read(path)

    def name_of(self, key: str) -> str | None:
        """Return the name of a key; None where it is unknown.

        It takes the same time whichever of the hashes it is, or none.
        """
        self._look()
        given = _hash(key)
        found = None
        for name, known in self._names.items():
            if hmac.compare_digest(known, given):
                found = name
        return found

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < _SECONDS:
            return
        self._looked = now
        stamp = self._mark()
        if stamp != self._stamp:
            # A file that is being written, or is gone, lets nobody in.
            self._names = {}
            try:
                self._names = _read(self._path)
            except ConfigurationError:
                return
            self._stamp = stamp

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino


def add_key(path: Path, name: str) -> str:
    """Make a key, write its hash into a file, and return the key, which stands nowhere else.

    Raises:
        ConfigurationError: The name cannot be one or is taken, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        msg = f"{name[:64]!r} cannot be the name of a key"
        raise ConfigurationError(
            msg, remedy="Use up to 64 letters, digits, points, underscores and hyphens."
        )
    known = _read(path) if path.exists() else {}
    if name in known:
        msg = f"{path} has a key named {name}"
        raise ConfigurationError(
            msg, remedy="Choose another name, or take that line out of the file first."
        )
    key = f"{_PREFIX}{secrets.token_urlsafe(32)}"
    try:
        with disk_errors(path):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{name}:{_hash(key)}\n")
    except FileNotFoundError:
        msg = f"the folder of {path} is missing"
        raise ConfigurationError(msg, remedy="Make it first.") from None
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    """Read the hashes by name."""
    try:
        with disk_errors(path, "read"):
            lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        msg = f"the file of the API's keys, {path}, is missing"
        raise ConfigurationError(msg, remedy=_MAKE) from None
    except UnicodeDecodeError:
        lines = ["?"]
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match["name"] in found:
            # The line may be a key.
            msg = f"line {number} of {path} is no name with a hash, or a name that came before"
            raise ConfigurationError(msg, remedy=_MAKE)
        found[match["name"]] = match["hash"]
    if not found:
        msg = f"{path} holds no key"
        raise ConfigurationError(msg, remedy=_MAKE)
    return found


_MAKE = "Make a key by `sales-mart api-key NAME`, which writes its hash into the file."
