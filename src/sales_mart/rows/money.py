"""Sums of money without rounding: Python's own context keeps 28 digits, and a total may have 29."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation

__all__ = ["add", "at_scale", "padded"]

_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])


def add(first: Decimal, second: Decimal, sign: int = 1) -> Decimal:
    """Add, or with -1 take away, without rounding."""
    return _EXACT.add(first, second) if sign > 0 else _EXACT.subtract(first, second)


def padded(amount: Decimal, decimals: int) -> Decimal:
    """Return an amount with so many decimals, or with as many as it needs, without other zeros."""
    needed = len(f"{amount:f}".partition(".")[2].rstrip("0"))
    return at_scale(amount, max(needed, decimals))


def at_scale(amount: Decimal, decimals: int) -> Decimal:
    """Return an amount so many decimals, which must not cost it a digit."""
    return amount.quantize(Decimal(1).scaleb(-decimals), context=_EXACT)
