"""Keys of earlier versions, which configurations may still have."""

from __future__ import annotations

from typing import Any, cast

from sales_mart.warehouses.base import RENAMED_KEYS

__all__ = ["rename"]


def rename(tree: dict[str, Any]) -> None:
    """Move what stands under an old name to the present one, unless that is given beside it.

    Args:
        tree: Sections and values by the names that a file uses; it is changed in place.
    """
    for old, new in RENAMED_KEYS.items():
        source, target = _section(tree, old[:-1]), _section(tree, new[:-1])
        if source is None or target is None or old[-1] not in source:
            continue
        target.setdefault(new[-1], source.pop(old[-1]))


def _section(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    for name in path:
        inner = tree.get(name)
        if not isinstance(inner, dict):
            return None
        tree = cast("dict[str, Any]", inner)
    return tree
