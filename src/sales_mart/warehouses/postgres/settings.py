"""The section `data_warehouse.postgres`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from sales_mart.config.section import NOT_FOR_PODS, Section
from sales_mart.config.texts import Address, Database, SecretName

__all__ = ["PostgresSettings"]


class PostgresSettings(Section):
    """How to reach PostgreSQL, and as whom."""

    model_config = ConfigDict(populate_by_name=True)

    secret_name: SecretName = Field(
        default="postgres-credentials", alias="secretName", json_schema_extra=NOT_FOR_PODS
    )
    """Secret with the keys `user` and `password`."""
    dbname: Database = "postgres"
    """Database."""
    host: Address = "localhost"
    """Host name, address, or folder of a Unix socket."""
    port: int = Field(default=5432, ge=1, le=65535)
    """TCP port."""
    user: str | None = Field(default=None, json_schema_extra=NOT_FOR_PODS)
    """User; better kept in the environment or the secret."""
    password: SecretStr | None = None
    """Password; better kept in the environment or the secret."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = (
        None
    )
    """TLS mode of libpq. Default: `verify-full`, on loopback and sockets `prefer`."""
    connect_timeout: int = Field(default=10, ge=1)
    """Seconds to wait for a connection."""
    statement_timeout: int = Field(default=3600, ge=1)
    """Seconds that one statement may take."""
    load_streams: int = Field(default=1, ge=1, le=64)
    """Connections that fill the raw table side by side when a snapshot is loaded. With more than
    one, tables beside it hold the rows, which the raw table inherits."""
    application_name: str = "sales_mart"
    """Name that the server shows for our sessions."""

    _meant: dict[str, str] | None = PrivateAttr(default=None)

    def as_given(self, parameters: dict[str, str] | None = None) -> Self:
        """Return these settings with a login that goes before that of any other place.

        Args:
            parameters: What libpq is told besides, such as `passfile`.
        """
        given = self.model_copy()
        given._meant = dict(parameters or {})  # noqa: SLF001 - our own
        return given

    @property
    def is_given(self) -> bool:
        """Whether user and password are meant, whatever the environment says."""
        return self._meant is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """What libpq is told besides."""
        return dict(self._meant or {})
