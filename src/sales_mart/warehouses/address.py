"""Where a warehouse is, in the words of the standards that catalogues read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Address", "Addressed"]


class Address(NamedTuple):
    """Where a warehouse is.

    Attributes:
        server: Its fields as a server of an Open Data Contract.
        namespace: Its namespace as OpenLineage names data sources.
        database: What stands before schema and table in the name of a dataset there; empty for
            nothing.
    """

    server: Mapping[str, str | int]
    namespace: str
    database: str = ""

    def dataset(self, schema: str, table: str) -> tuple[str, str]:
        """Return namespace and name of a table as OpenLineage names it."""
        return self.namespace, ".".join(filter(None, (self.database, schema, table)))


class Addressed(ABC):
    """A warehouse that says where it is."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def place(self) -> dict[str, str]:
        """What tells its marts apart from those of other configurations: no address.

        The same server has another address behind a proxy or after a failover.
        """

    @property
    def address(self) -> Address:
        """Where it is, without user and password."""
        return Address({"type": "custom"}, self.name)
