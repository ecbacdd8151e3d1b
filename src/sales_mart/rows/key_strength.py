"""Whether a key can be guessed, or was spoiled on its way: what to say of it, never the key."""

from __future__ import annotations

import re
import unicodedata
import zlib
from itertools import pairwise

__all__ = ["spoiled", "weakness"]

_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb")
_ENDS = (
    ("\r", "a carriage return (CR)"),
    ("\n", "a newline, beside the one that is ignored,"),
    ("\ufeff", "a byte order mark (BOM)"),
)
_FEWEST_CHARACTERS = 8
_FEWEST_BYTES = 13
_FEWEST_LEFT = 16

# What nobody chooses at random: anywhere in a key, whatever the case and the separators. None is
# shorter than 7 letters, see `weakness`.
_MARKS = re.compile(
    "changeme|changeit|changethis|changekey|replaceme|replacethis|replacewith|yourkey|yourown"
    "|yoursecret|yourhash|yourpassword|keyhere|secrethere|passwordhere|keygoeshere|placeholder"
    "|password|passw0rd|p4ssw0rd|p@ssw0rd|examplekey|exampleonly|notsecret|notasecret|supersecret"
    "|secretkey|insecure|opensslrand"
)
# Words that instructions and placeholders are made of. A key of these and little else is none.
_WORDS = (
    *("secret", "changeme", "change", "password", "passphrase", "example", "sample", "default"),
    *("dummy", "fixme", "todo", "test", "testing", "demo", "develop", "development", "local"),
    *("staging", "production", "admin", "root", "user", "login", "welcome", "letmein", "qwerty"),
    *("deadbeef", "foobar", "foo", "bar", "baz", "lorem", "ipsum", "dolor", "sales", "mart"),
    *("hash", "hmac", "sha256", "sha", "pii", "token", "tokens", "salt", "pepper", "random"),
    *("string", "text", "value", "key", "keys", "byte", "bytes", "bits", "char", "chars", "hex"),
    *("character", "characters", "please", "generate", "generated", "replace", "insert", "enter"),
    *("your", "this", "that", "with", "before", "here", "goes", "real", "long", "enough", "super"),
    *("very", "must", "least", "more", "than", "only", "use", "not", "for", "the", "and", "set"),
    *("temporary", "temp", "tmp", "none", "null", "undefined", "true", "false", "abc", "xyz"),
    *("two", "one", "three", "thirty", "number", "some", "any", "put", "own", "safe", "strong"),
)
_WORD = re.compile("|".join(sorted(_WORDS, key=len, reverse=True)))
_SEPARATORS = re.compile(r"[\s\-_.,:;!/]")
# As `$(openssl rand …)`, `${KEY}`, `{{ .Values.key }}` and `<put the key here>`.
_UNFILLED = re.compile(
    r"\$\([\w\s-]+\)|\$\{\w+\}|\{\{.*\}\}|<[\w\s-]+>|\[[\w\s-]+\]|%\w+%|\$[A-Z_]+", re.DOTALL
)

# What a compressor may refer to, so that a sequence or a common word costs next to nothing.
_KNOWN = (
    "0123456789" * 2
    + "9876543210" * 2
    + "abcdefghijklmnopqrstuvwxyz" * 2
    + "zyxwvutsrqponmlkjihgfedcba"
    + "qwertyuiopasdfghjklzxcvbnm"
    + "1234567890qwertzuiopasdfghjklyxcvbnm"
    + "1q2w3e4r5t6y7u8i9o0p1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p"
    + "0123456789abcdef" * 2
    + "fedcba9876543210"
    + "".join(f"{number:02}" for number in range(32))
    + "".join(f"{number:02x}" for number in range(32))
    + "314159265358979323846264338327950288419716939937510"
    + "2718281828459045235360287471352662497757"
    + "correcthorsebatterystaple"
    + "thequickbrownfoxjumpsoverthelazydog"
    + "loremipsumdolorsitametconsecteturadipiscingelit"
).encode()


def spoiled(key: str) -> str | None:
    """Return what stands around a key that is no part of it; None when nothing does.

    It comes from a copy, an editor on Windows, or a file of variables that is not read by a shell;
    whoever corrects it by chance gets other tokens.
    """
    ends = key[0] + key[-1]
    if ends in _QUOTES:
        return "quotes around it"
    for character, name in _ENDS:
        if character in ends:
            return f"{name} at an end"
    if ends != ends.strip():
        return "white space at an end"
    if any(unicodedata.category(each) in {"Cc", "Cf"} for each in ends):
        return "an invisible character at an end"
    return None


def weakness(key: str) -> str | None:
    """Return why a key can be guessed; None when there is no sign of it.

    Keys of a random generator pass. These are the most of the weakest of them that are refused by
    chance, with 32 characters; of 64, as `openssl rand -hex 32` and `-base64 48` make, far less.

    - 32 hex digits hold 128 bits. Fewer than 8 different: C(16, 7) · (7/16)^32 < 4e-8. Compressed
      to 12 bytes or less: there are fewer than 2^97 such results, each of one text, so less than
      2^-30 for the two ways to write it. Of the words only `deadbeef` is written in hex digits.
    - 32 characters of base64 hold 192 bits, in any case and without separators 100 at least (but
      for 1e-10 of them), so the same holds. A mark: 30 places · 30 marks · (2/64)^7 < 3e-8. Half of
      the text in words, five of three letters at the best: (40 · 30)^5 / 5! · (2/64)^15 < 1e-9.
    """
    plain = _SEPARATORS.sub("", unicodedata.normalize("NFKC", key).casefold())
    if _UNFILLED.fullmatch(key):
        return "it is an expression that was not filled in"
    if _MARKS.search(plain) or len(_WORD.sub("", plain).encode()) < _FEWEST_LEFT:
        return "it looks like a placeholder"
    if len(set(key)) < _FEWEST_CHARACTERS:
        return "it has few different characters"
    text = plain.encode()
    steps = bytes([text[0], *((b - a) % 256 for a, b in pairwise(text))])
    if _compressed(text) < _FEWEST_BYTES or _compressed(steps) < _FEWEST_BYTES:
        return "it is a pattern or a sequence"
    return None


def _compressed(text: bytes) -> int:
    packer = zlib.compressobj(level=9, wbits=-15, zdict=_KNOWN)
    return len(packer.compress(text) + packer.flush())
