"""The configuration: one frozen model, read from a YAML file and the environment.

Precedence: command line, environment (`SALES_MART_DATA_WAREHOUSE__POSTGRES__HOST`), file, default.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from sales_mart.config.api import Api
from sales_mart.config.ingestion import Ingestion, Validation
from sales_mart.config.renamed import rename
from sales_mart.config.section import CHART, ONE_OR_MANY, UNSHOWN, Section
from sales_mart.config.texts import Address, Identifier, Project, TargetName, Zone, is_own_table
from sales_mart.names import MART_NAMES
from sales_mart.schema import FIELDS, schema_of
from sales_mart.warehouses.base import DEFAULT_TARGETS, names, warehouse_class
from sales_mart.warehouses.bigquery.settings import BigQuerySettings
from sales_mart.warehouses.postgres.settings import PostgresSettings

__all__ = ["Config", "DataMart", "Ingestion", "Security", "Validation"]


class Pipeline(Section):
    """What the pipeline is called, for other systems."""


class DataLake(Section):
    """Where the raw files are and where runs are kept."""

    gcs_bucket: str | None = None
    """Bucket of the raw files; with `path` it gives the default of `source` and `lake`."""
    path: str = "raw/transactions"
    """Prefix of the raw files inside `gcs_bucket`."""
    source: Annotated[tuple[Address, ...], ONE_OR_MANY] = ()
    """Files, folders or globs, local or in a bucket, one or a list; `{date}`, or a part of it such
    as `{date:%Y%m%d}`, makes the source daily. Default: `gs://<gcs_bucket>/<path>/*.csv`."""
    lake: Address | None = None
    """Folder or bucket prefix that runs are kept in. Default: `gs://<gcs_bucket>/sales-mart`."""
    ready_marker: str | None = Field(default=None, min_length=1)
    """File that says that a delivery is whole: a run waits for it, and does not read it. A name,
    such as _SUCCESS, stands in the folder of each file; {file}.done stands beside each file."""
    minimum_age: int = Field(default=0, ge=0)
    """Seconds for which a file must not have changed before it is read."""

    @field_validator("ready_marker")
    @classmethod
    def _one_name(cls, value: str | None) -> str | None:
        rest = (value or "").replace("{file}", "")
        if value is not None and (not rest or re.search(r"[/{}*?\0]", rest)):
            msg = "must be the name of a file, such as _SUCCESS, or {file}.done"
            raise ValueError(msg)
        return value


class DataWarehouse(Section):
    """The private raw tables, in all warehouses under the same names."""

    project_id: Project = "sales-mart"
    """Google Cloud project."""
    dataset: Identifier = "transactions_warehouse"
    """Dataset on BigQuery and schema on PostgreSQL of the raw tables."""
    table: Identifier = "raw_transactions"
    """Raw table."""
    targets: tuple[TargetName, ...] = DEFAULT_TARGETS
    """Warehouses to load."""
    lock_timeout: int = Field(default=60, ge=1)
    """Seconds to wait for a lock, such as another run's."""
    postgres: PostgresSettings = PostgresSettings()
    """PostgreSQL."""
    bigquery: BigQuerySettings = BigQuerySettings()
    """BigQuery."""

    @field_validator("targets")
    @classmethod
    def _some_target(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if not targets:
            msg = f"name at least one of {', '.join(names())}"
            raise ValueError(msg)
        return tuple(name for name in names() if name in targets)


def _with_sections(base: type[DataWarehouse]) -> type[DataWarehouse]:
    """Return the section with those of the warehouses that bring their own."""
    brought = {
        name: (warehouse_class(name).title, section)
        for name in names()
        if name not in base.model_fields
        and (section := warehouse_class(name).section()) is not None
    }
    fields: dict[str, Any] = {
        name: (section, Field(default=section(), description=f"{title}."))
        for name, (title, section) in brought.items()
    }
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)


if not TYPE_CHECKING:
    DataWarehouse = _with_sections(DataWarehouse)


class DataMart(Section):
    """The marts that readers see."""

    dataset: Identifier = "transactions_mart"
    """Dataset of the marts on BigQuery."""
    postgres_schema: Identifier = "public"
    """Schema of the marts on PostgreSQL."""
    export: Address | None = None
    """Folder or bucket prefix of the summary files. Default: `<lake>/export`."""


class Transformation(Section):
    """The dbt project, which ships with the package."""

    models_path: str | None = None
    """Folder of your own dbt models, built, tested, compared and published with ours."""


class Orchestration(Section):
    """When the pipeline runs; on Kubernetes the chart's values own both."""

    airflow_dag: str | None = Field(default=None, json_schema_extra=CHART)
    """Name of the workflow. Read by `config values` only."""
    schedule: str = Field(default="0 0 * * *", json_schema_extra=CHART)
    """Cron schedule. Read by `config values` only."""
    timezone: Zone = "UTC"
    """Time zone in which the schedule fires and a business date begins."""


class Security(Section):
    """How identifiers become tokens."""

    pii_fields: tuple[str, ...] = ("transaction_id",)
    """Columns to replace by a token: transaction_id, and any of the attributes."""
    algorithm: Literal["sha256", "hmac-sha256"] = "sha256"
    """How a token is made. `sha256` needs no key, and whoever can enumerate ids can undo it."""
    key_file: str | None = Field(default=None, json_schema_extra=UNSHOWN)
    """File with the key of `hmac-sha256`. Default: the variable `PII_HASH_KEY`."""

    @field_validator("pii_fields")
    @classmethod
    def _the_id_among_them(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if "transaction_id" not in fields:
            msg = (
                "must name transaction_id: without a token the raw identifier would reach the "
                "warehouses"
            )
            raise ValueError(msg)
        if {*fields} & {*FIELDS[1:], "amount"}:
            msg = (
                "can name transaction_id and attributes: the rules of the other columns cannot "
                "look into a token"
            )
            raise ValueError(msg)
        return fields


class Resources(Section):
    """Resources of a pod. Read by `config values` only: the chart's values own them."""

    cpu: str = Field(default="500m", json_schema_extra=CHART)
    """CPU limit."""
    memory: str = Field(default="1Gi", json_schema_extra=CHART)
    """Memory limit."""


class Kubernetes(Section):
    """Where the workflow lives; the chart's values own it."""

    namespace: str = "data-pipeline"
    """Namespace of the secrets."""
    resources: Resources = Resources()
    """Resources of a pod."""


_RULES_OF_0_1 = frozenset(
    {
        *("min_price", "max_quantity", "required_fields", "product_prefix", "max_decimals"),
        "max_reject_share",
    }
)


def _without_new_defaults(rules: Validation) -> dict[str, Any]:
    """Return the rules for a digest, which stays the same while a newer rule is not set."""
    every = rules.model_dump(mode="json", exclude={"max_removed_share"})
    said = rules.model_dump(mode="json", exclude_defaults=True)
    return {name: value for name, value in every.items() if name in _RULES_OF_0_1 or name in said}


class Config(Section):
    """The whole configuration; load it with `sales_mart.load_config`."""

    pipeline: Pipeline = Pipeline()
    """The pipeline."""
    data_lake: DataLake = DataLake()
    """Source files and runs."""
    data_warehouse: DataWarehouse = DataWarehouse()
    """Raw tables."""
    data_mart: DataMart = DataMart()
    """Marts."""
    ingestion: Ingestion = Ingestion()
    """Rules."""
    transformation: Transformation = Transformation()
    """dbt."""
    orchestration: Orchestration = Orchestration()
    """Schedule."""
    security: Security = Security()
    """Tokens."""
    kubernetes: Kubernetes = Kubernetes()
    """Kubernetes."""
    api: Api = Api()
    """The read API."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        tree = copy.deepcopy(cast("dict[str, Any]", values))
        rename(tree)
        return tree

    @model_validator(mode="after")
    def _places_differ(self) -> Config:
        raw = self.data_warehouse.dataset
        mart = self.data_mart
        # Without regard to case, as dbt compares them.
        for key, name in (("dataset", mart.dataset), ("postgres_schema", mart.postgres_schema)):
            if raw.lower() in (name.lower(), f"{name}__next".lower()):
                msg = f"data_mart.{key} and data_warehouse.dataset must differ: {raw!r} is private"
                raise ValueError(msg)
        if is_own_table(self.data_warehouse.table):
            msg = (
                f"data_warehouse.table must not be {self.data_warehouse.table!r}: the pipeline "
                "makes tables of such names beside it"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _personal_columns_exist(self) -> Config:
        attributes = self.ingestion.attributes
        for name in self.security.pii_fields:
            if name == "transaction_id":
                continue
            if name not in attributes:
                # Its name may be a secret in the wrong place.
                msg = (
                    "security.pii_fields names what is no attribute: add it to ingestion.attributes"
                )
                raise ValueError(msg)
            given = attributes[name]
            if given.type != "text" or given.dimension or given.role:
                msg = f"security.pii_fields: {name} must be text, no dimension and no currency"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _currency_fits_into_marts(self) -> Config:
        for name, attribute in self.ingestion.attributes.items():
            if attribute.role == "currency" and name in MART_NAMES:
                msg = (
                    f"ingestion.attributes: {name} cannot be the name of the currency, which "
                    "stands in every mart: some have a column of that name"
                )
                raise ValueError(msg)
        return self

    # It stands behind the others, so that it is told what they say.
    @model_validator(mode="wrap")
    @classmethod
    def _explain(
        cls, values: Any, handler: ModelWrapValidatorHandler[Config], info: ValidationInfo
    ) -> Config:
        """Raise our error, also where a configuration is written in Python."""
        try:
            return handler(values)
        except ValidationError as error:
            from sales_mart.config.explain import EXPLAINED_LATER, explain, wrong

            if info.context == EXPLAINED_LATER:
                raise
            raise wrong(list(explain(error, {}, cls.__name__))) from None

    @property
    def rules(self) -> Validation:
        """The rules of a valid transaction."""
        return self.ingestion.validation

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, from `data_lake.source` or the bucket; none when neither is set."""
        lake = self.data_lake
        if lake.source or not lake.gcs_bucket:
            return lake.source
        return (f"gs://{lake.gcs_bucket}/{lake.path.strip('/')}/*.csv",)

    @property
    def lake(self) -> str | None:
        """The lake, from `data_lake.lake` or the bucket; None when neither is set."""
        lake = self.data_lake
        if lake.lake or not lake.gcs_bucket:
            return lake.lake
        return f"gs://{lake.gcs_bucket}/sales-mart"

    @property
    def digest(self) -> str:
        """SHA-256 over the keys that shape a run's result, as 64 hex characters.

        Hosts, credentials and timeouts are left out: the pods of one run may differ in them. So is
        `max_removed_share`, which may be raised for a run that was refused.
        """
        shaping: dict[str, Any] = {
            "warehouse": self.data_warehouse.model_dump(
                mode="json", include={"project_id", "dataset", "table"}
            ),
            "mart": self.data_mart.model_dump(mode="json", include={"dataset", "postgres_schema"}),
            "trust_input": self.ingestion.trust_input,
            "rules": _without_new_defaults(self.rules),
            "algorithm": self.security.algorithm,
            "timezone": self.orchestration.timezone,
        }
        # Without them digests are those of 0.1.
        for name in ("attributes", "columns", "format"):
            if said := self.ingestion.model_dump(mode="json", exclude_defaults=True).get(name):
                shaping[name] = said
        if len(self.security.pii_fields) > 1:
            shaping["pii_fields"] = sorted(self.security.pii_fields)
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()

    @property
    def mart_rules_digest(self) -> str:
        """SHA-256 over the rules that the marts apply, and their models.

        Another one means that all marts are built anew, whole.
        """
        from sales_mart.dbt_runner.project import models_digest

        rules = self.rules.model_dump(
            mode="json",
            include={"min_price", "max_quantity", "product_prefix", "max_decimals"},
        )
        models = models_digest(self.transformation.models_path)
        shaping: list[Any] = [rules, models]
        schema = schema_of(self)
        if schema.attributes:
            shaping.append(
                [[each.name, each.kind, each.scale, each.role] for each in schema.attributes]
            )
        returns = self.rules.model_dump(
            mode="json", include={"allow_returns", "quantity_decimals"}, exclude_defaults=True
        )
        if returns:
            shaping.append(returns)
        if "amount" in self.ingestion.columns:
            shaping.append("line totals")
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
