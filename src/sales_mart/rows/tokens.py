"""Identifiers into tokens: made once, in `validate`, and the same in both warehouses."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import SecretBytes, SecretStr

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
    "keyed_tokeniser",
    "plain_warning",
    "tokeniser",
    "warn_of_plain_tokens",
]

_log = logging.getLogger(__name__)

KEY_VARIABLE = "PII_HASH_KEY"
MIN_KEY_BYTES = 32


@dataclass(frozen=True, init=False)
class Tokeniser:
    """Turns identifiers into tokens of 64 lower-case hex characters.

    Attributes:
        key: Key of HMAC-SHA-256; None for plain SHA-256.
        key_id: Tells keys apart and gives none away: `sha256`, or `hmac-sha256:` and 16 hex
            characters of a HMAC over a fixed text.
    """

    key: SecretBytes | None = field(repr=False)
    key_id: str

    def __init__(self, key: SecretStr | SecretBytes | str | bytes | None = None) -> None:
        """Take the key as bytes, or as the text whose UTF-8 is the key; it is not checked here."""
        given = key.get_secret_value() if isinstance(key, SecretStr | SecretBytes) else key
        secret = given.encode() if isinstance(given, str) else given
        object.__setattr__(self, "key", None if secret is None else SecretBytes(secret))
        key_id = "sha256"
        if secret is not None:
            key_id = f"hmac-sha256:{self._hmac(b'sales_mart key_id')[:16]}"
        object.__setattr__(self, "key_id", key_id)

    def __reduce__(self) -> NoReturn:
        """Refuse to be serialised: the key would be in the bytes."""
        msg = "a tokeniser holds the key and is not pickled"
        raise TypeError(msg)

    def _hmac(self, message: bytes) -> str:
        secret = self.key.get_secret_value() if self.key else b""
        return hmac.new(secret, message, hashlib.sha256).hexdigest()

    def token(self, identifier: str, context: str | None = None) -> str:
        r"""Make the token of one stripped identifier, in whichever normal form it is.

        Args:
            identifier: The text.
            context: Keeps tokens of equal texts apart: `<context>\x1f<text>` is the message.
        """
        message = nfc(f"{_prefix(context)}{identifier}").encode()
        return hashlib.sha256(message).hexdigest() if self.key is None else self._hmac(message)

    def expression(self, column: str, context: str | None = None) -> pl.Expr:
        """Make the tokens of a column of stripped identifiers in NFC; null stays null.

        The key stands in the expression: collect it in this process and never serialise it.
        """
        import polars as pl
        import polars_hash

        text = pl.col(column)
        if context is not None:
            text = pl.lit(nfc(_prefix(context))) + text
        plugin = polars_hash.CryptographicHashingNameSpace(text)
        if self.key is None:
            return plugin.sha2_256()
        try:
            return plugin.hmac_sha256(key=self.key.get_secret_value().decode())
        except UnicodeDecodeError:  # the plugin takes a text
            return text.map_elements(self._of_message, return_dtype=pl.String)

    def _of_message(self, message: str) -> str:
        return self._hmac(message.encode())


def _prefix(context: str | None) -> str:
    return "" if context is None else f"{context}\x1f"


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
    return keyed_tokeniser(text.removesuffix("\n"), where, _REMEDY)


def keyed_tokeniser(key: str | bytes, where: str, remedy: str) -> Tokeniser:
    """Make the tokeniser of a key that is no weak one.

    Args:
        key: The key, as bytes or as the text whose UTF-8 it is.
        where: Where it stands, for messages, which never hold it.
        remedy: How to give a better one.

    Raises:
        ConfigurationError: It is under 32 bytes, was spoiled on its way, or can be guessed.
    """
    try:
        secret = key.encode() if isinstance(key, str) else key
    except UnicodeEncodeError:
        msg = f"{where} is not UTF-8 text"
        raise ConfigurationError(msg, remedy=remedy) from None
    if len(secret) < MIN_KEY_BYTES:
        msg = f"{where} holds a key of {len(secret)} bytes"
        raise ConfigurationError(msg, remedy=remedy)
    try:
        text = secret.decode()
        around = spoiled(text)
    except UnicodeDecodeError:
        text, around = secret.decode("latin-1"), None  # random bytes, which may end in any
    if around is not None:
        msg = f"{where} holds a key with {around}"
        raise ConfigurationError(msg, remedy=f"Write the key without it. {_ROTATE}")
    reason = weakness(text)
    if reason is not None:
        msg = f"{where} holds a key that can be guessed: {reason}"
        raise ConfigurationError(msg, remedy=f"{remedy} {_ROTATE}")
    return Tokeniser(secret)


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
