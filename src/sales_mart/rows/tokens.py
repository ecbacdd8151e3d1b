"""Identifiers into tokens: made once, in `validate`, and the same in both warehouses."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import SecretStr

from sales_mart.errors import ConfigurationError
from sales_mart.rows.characters import nfc
from sales_mart.rows.key_strength import spoiled, weakness

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sales_mart.config import Config

__all__ = [
    "KEY_VARIABLE",
    "MIN_KEY_BYTES",
    "Tokeniser",
    "plain_warning",
    "tokeniser",
    "warn_of_plain_tokens",
]

_log = logging.getLogger(__name__)

KEY_VARIABLE = "PII_HASH_KEY"
MIN_KEY_BYTES = 32


@dataclass(frozen=True)
class Tokeniser:
    """Turns identifiers into tokens of 64 lower-case hex characters.

    Attributes:
        key: Key of HMAC-SHA-256, as the text whose UTF-8 is the key; None for plain SHA-256.
        key_id: Tells keys apart and gives none away: `sha256`, or `hmac-sha256:` and 16 hex
            characters of a HMAC over a fixed text.
    """

    key: SecretStr | None = field(default=None, repr=False)
    key_id: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the key's id."""
        key_id = "sha256"
        if self.key is not None:
            key_id = f"hmac-sha256:{self._hmac(b'sales_mart key_id')[:16]}"
        object.__setattr__(self, "key_id", key_id)

    def __reduce__(self) -> NoReturn:
        """Refuse to be serialised: the key would be in the bytes."""
        msg = "a tokeniser holds the key and is not pickled"
        raise TypeError(msg)

    def _hmac(self, message: bytes) -> str:
        secret = self.key.get_secret_value() if self.key else ""
        return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()

    def token(self, identifier: str) -> str:
        """Make the token of one stripped identifier, in whichever normal form it is."""
        message = nfc(identifier).encode()
        return hashlib.sha256(message).hexdigest() if self.key is None else self._hmac(message)

    def expression(self, column: str) -> pl.Expr:
        """Make the tokens of a column of stripped identifiers in NFC; null stays null.

        The key stands in the expression: collect it in this process and never serialise it.
        """
        import polars_hash

        plugin = polars_hash.col(column).chash
        if self.key is None:
            return plugin.sha2_256()
        return plugin.hmac_sha256(key=self.key.get_secret_value())


def plain_warning(config: Config) -> str | None:
    """Say why a configuration that names no algorithm should; None when it names one."""
    if "algorithm" in config.security.model_fields_set:
        return None
    return (
        "security.algorithm is not set, so identifiers are hashed with plain sha256: whoever can "
        "enumerate them (every nine-digit number takes minutes) can undo it. Set it to "
        f"hmac-sha256, with a key in {KEY_VARIABLE}; or to sha256, to keep tokens that were made "
        "without a key."
    )


def warn_of_plain_tokens(config: Config) -> list[str]:
    """Log why a configuration that names no algorithm should, and return what was said."""
    warning = plain_warning(config)
    if warning is None:
        return []
    _log.warning(warning)
    return [warning]


def tokeniser(config: Config, environ: Mapping[str, str] | None = None) -> Tokeniser:
    """Make the tokeniser that a configuration asks for.

    The key is the UTF-8 text of the variable `PII_HASH_KEY` or of `security.key_file`, less one
    newline at its end, and not decoded any further.

    Raises:
        ConfigurationError: `hmac-sha256` has no key, one under 32 bytes, or one that can be
            guessed; or there is a key, and no algorithm is set.
    """
    environ = os.environ if environ is None else environ
    security = config.security
    if "algorithm" not in security.model_fields_set:
        _refuse_key(security.key_file, environ)
    if security.algorithm == "sha256":
        return Tokeniser()
    where, text = _given_key(security.key_file, environ)
    key = text.removesuffix("\n")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        msg = f"{where} is not UTF-8 text"
        raise ConfigurationError(msg, remedy=_REMEDY) from None
    if length < MIN_KEY_BYTES:
        msg = f"{where} holds a key of {length} bytes"
        raise ConfigurationError(msg, remedy=_REMEDY)
    around = spoiled(key)
    if around is not None:
        msg = f"{where} holds a key with {around}"
        raise ConfigurationError(msg, remedy=f"Write the key without it. {_ROTATE}")
    reason = weakness(key)
    if reason is not None:
        msg = f"{where} holds a key that can be guessed: {reason}"
        raise ConfigurationError(msg, remedy=f"{_REMEDY} {_ROTATE}")
    return Tokeniser(SecretStr(key))


_REMEDY = (
    f"Put a random key of at least {MIN_KEY_BYTES} bytes into the variable {KEY_VARIABLE} or "
    "into the file that security.key_file names, for instance the output of "
    "`openssl rand -base64 48`, and keep it: without it the tokens cannot be made again."
)
_ROTATE = (
    "Where rows were loaded with the present one, it is another key, and the history has to be "
    'loaded again: see "Rotate a key" in docs/how-to/keys.md.'
)


def _refuse_key(path: str | None, environ: Mapping[str, str]) -> None:
    """Refuse a key that nothing would be done with: who gives one expects that it is used."""
    if KEY_VARIABLE in environ:
        what = f"the variable {KEY_VARIABLE} is set"
    elif path is not None:
        what = "security.key_file names a file"
    else:
        return
    msg = f"{what}, but security.algorithm is not, so the key would not be used"
    raise ConfigurationError(
        msg,
        remedy="Set security.algorithm to hmac-sha256, to use the key; or to sha256, to make "
        "tokens without a key, which whoever can enumerate the identifiers can undo.",
    )


def _given_key(path: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return where the key stands, and its text."""
    if KEY_VARIABLE in environ:
        return f"the variable {KEY_VARIABLE}", environ[KEY_VARIABLE]
    if path is None:
        msg = "security.algorithm is hmac-sha256 and there is no key"
        raise ConfigurationError(msg, remedy=_REMEDY)
    # Not its name: it may be the key itself, by mistake.
    where = "the file that security.key_file names"
    try:
        return where, Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        msg = f"{where} could not be read: {error.strerror}"
        raise ConfigurationError(msg, remedy=_REMEDY) from None
    except UnicodeDecodeError:
        msg = f"{where} is not UTF-8 text"
        raise ConfigurationError(msg, remedy=_REMEDY) from None
