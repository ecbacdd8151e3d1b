"""Read a YAML file into values that remember their line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from sales_mart.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Given", "Tree", "read_plain", "read_yaml"]

_MOST_NODES = 10_000
_DEEPEST = 8
_MOST_BYTES = 1_000_000
_MERGE = "tag:yaml.org,2002:merge"
_COMPARE = "Compare the file with what `sales-mart init` writes."


class Given(NamedTuple):
    """One value, where it was given, and for a YAML scalar how it was written there."""

    value: Any
    origin: str
    text: str | None = None


Tree = dict[str, "Given | Tree"]


def read_yaml(path: Path) -> Tree:
    """Read a YAML file whose top is a mapping; an empty one is an empty mapping.

    Raises:
        ConfigurationError: It cannot be read, is not YAML, or has a key twice.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path} could not be read: {error.strerror}"
        raise ConfigurationError(msg, remedy="Make the file readable.") from error
    try:
        if len(data) > _MOST_BYTES:
            msg = f"{path} has {len(data)} bytes, too many for a configuration"
            raise ConfigurationError(msg, remedy="Name the configuration file, not the data.")
        loader = yaml.SafeLoader(data.decode("utf-8-sig"))
        node = loader.get_single_node()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        reason = _without_values(getattr(error, "problem", None) or "it is not text in UTF-8")
        msg = f"{place}: not YAML: {reason}"
        raise ConfigurationError(msg, remedy=_COMPARE) from None
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        msg = f"{path}:{node.start_mark.line + 1}: the file must be a mapping of sections"
        raise ConfigurationError(msg, remedy=_COMPARE)
    return _Reader(path, loader).mapping(node, ())


def _without_values(problem: str) -> str:
    """Cut a name that the file makes up: it may be a password that starts with `*` or `!`."""
    return re.sub(r"""(found (?:undefined|duplicate) [a-z ]+) ['"].*""", r"\1", problem)


class _Reader:
    """Turns YAML nodes into values that remember their line."""

    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self._path = path
        self._loader = loader
        self._nodes = 0

    def _place(self, node: yaml.Node) -> str:
        return f"{self._path}:{node.start_mark.line + 1}"

    def mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> Tree:
        """Read a mapping; a key that stands in it twice is an error."""
        if len(path) > _DEEPEST:
            msg = f"{self._place(node)}: {path[0]}: sections are nested too deeply"
            raise ConfigurationError(msg, remedy=_COMPARE)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name = self._name(key)
            if name in lines and key.tag != _MERGE:
                dotted = ".".join((*path, name))
                msg = f"{self._place(key)}: {dotted} is already set in line {lines[name]}"
                raise ConfigurationError(msg, remedy="Remove one of the two.")
            lines[name] = key.start_mark.line + 1
        return {
            self._name(key): self._value(value, (*path, self._name(key)), key)
            for key, value in self._merged(node, 0)
        }

    def _merged(
        self, node: yaml.MappingNode, depth: int
    ) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        """Put what `<<` names before a mapping's own keys, so that the own ones win.

        PyYAML would do it too, but without a limit on merges of merges.
        """
        own = [(key, value) for key, value in node.value if key.tag != _MERGE]
        pairs: list[tuple[yaml.ScalarNode, yaml.Node]] = []
        for key, value in node.value:
            if key.tag != _MERGE:
                continue
            parents = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for parent in reversed(parents):
                if not isinstance(parent, yaml.MappingNode):
                    msg = f"{self._place(key)}: << can only include sections"
                    raise ConfigurationError(msg, remedy=_COMPARE)
                self._count(parent, depth)
                pairs += self._merged(parent, depth + 1)
        return pairs + own

    def _count(self, node: yaml.Node, depth: int) -> None:
        """Aliases of aliases can blow a small file up, or lead round in a circle."""
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > 2 * _DEEPEST:
            msg = f"{self._place(node)}: the file has too many values"
            raise ConfigurationError(msg, remedy="Remove its aliases.")

    def _name(self, key: yaml.Node) -> str:
        if isinstance(key, yaml.ScalarNode):
            return str(key.value)
        msg = f"{self._place(key)}: a key must be a name"
        raise ConfigurationError(msg, remedy=_COMPARE)

    def _value(self, node: yaml.Node, path: tuple[str, ...], key: yaml.Node) -> Given | Tree:
        self._count(node, len(path))
        origin = self._place(key)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = [self._value(item, (*path, ""), item) for item in node.value]
            values = [i.value if isinstance(i, Given) else _plain(i) for i in items]
            return Given(values, origin)
        try:
            value = self._loader.construct_object(node)
        except Exception as error:
            msg = f"{self._place(node)}: {'.'.join(path)}: not a value in YAML"
            raise ConfigurationError(msg, remedy="Put the value in quotes.") from error
        return Given(value, origin, str(node.value))


def read_plain(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top is a mapping into plain values.

    Raises:
        ConfigurationError: As `read_yaml`.
    """
    return _plain(read_yaml(path))


def _plain(tree: Tree) -> dict[str, Any]:
    return {
        name: given.value if isinstance(given, Given) else _plain(given)
        for name, given in tree.items()
    }
