"""The configuration: one frozen model, read from a YAML file and the environment.

Precedence: command line, environment (`SALES_MART_DATA_WAREHOUSE__POSTGRES__HOST`), file, default.
"""

from __future__ import annotations

import copy
import hashlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from sales_mart.config.renamed import rename
from sales_mart.config.section import CHART, UNSHOWN, Section
from sales_mart.config.texts import (
    Address,
    ExactDecimal,
    Identifier,
    Project,
    TargetName,
    Zone,
    is_own_table,
)
from sales_mart.rows.characters import nfc
from sales_mart.schema import FIELDS, RESERVED_NAMES, FieldName
from sales_mart.warehouses.base import DEFAULT_TARGETS, names, warehouse_class
from sales_mart.warehouses.bigquery.settings import BigQuerySettings
from sales_mart.warehouses.postgres.settings import PostgresSettings

__all__ = ["Config", "DataMart", "Security", "Validation"]


class Pipeline(Section):
    """What the pipeline is called, for other systems."""


class DataLake(Section):
    """Where the raw files are and where runs are kept."""

    gcs_bucket: str | None = None
    """Bucket of the raw files; with `path` it gives the default of `source` and `lake`."""
    path: str = "raw/transactions"
    """Prefix of the raw files inside `gcs_bucket`."""
    source: Address | None = None
    """Files, folders or globs, local or gs://; `{date}` in it makes the source daily. Default:
    `gs://<gcs_bucket>/<path>/*.csv`."""
    lake: Address | None = None
    """Folder or gs:// prefix that runs are kept in. Default: `gs://<gcs_bucket>/sales-mart`."""


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
    """Folder or gs:// prefix of the summary files. Default: `<lake>/export`."""


class Validation(Section):
    """The rules of a valid transaction that a site may set."""

    min_price: Annotated[ExactDecimal, AfterValidator(abs)] = Field(
        default=Decimal(0), ge=0, max_digits=18
    )
    """Lowest valid price; a price must be above 0 in any case."""
    max_quantity: int = Field(default=100, ge=1, le=1_000_000_000)
    """Highest valid quantity."""
    required_fields: tuple[FieldName, ...] = FIELDS
    """Fields that must be present; `transaction_id` and `date` always must."""
    product_prefix: Annotated[str, AfterValidator(nfc)] = ""
    """What a valid product's name starts with, case-sensitive."""
    max_decimals: int = Field(default=2, ge=0, le=9)
    """Most decimals of a price; the scale of every amount."""
    max_reject_share: float = Field(default=1.0, ge=0, le=1)
    """Share of rejected rows above which a run fails before anything is loaded."""
    max_removed_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the visible rows above which a load that takes them away is refused. Below 1, an
    input without rows needs `--allow-empty`."""

    @field_validator("required_fields")
    @classmethod
    def _always_required(cls, fields: tuple[FieldName, ...]) -> tuple[FieldName, ...]:
        missing = [name for name in ("transaction_id", "date") if name not in fields]
        if missing:
            msg = (
                f"{' and '.join(missing)} must be in it: a row without an identifier cannot be "
                "told from another, and one without a date belongs to no day"
            )
            raise ValueError(msg)
        return tuple(name for name in FIELDS if name in fields)


def _not_taken(name: str) -> str:
    if name in RESERVED_NAMES:
        msg = f"{name} cannot be the name of an attribute: the pipeline has a column of that name"
        raise ValueError(msg)
    return name


AttributeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,56}$"), AfterValidator(_not_taken)]
"""Name of a column that the configuration adds."""


class Attribute(Section):
    """A column beside the five of every sale: it is carried, loaded and shown."""

    from_: str | None = Field(default=None, alias="from", min_length=1)
    """What the files call it. Default: its own name."""
    type: Literal["text", "integer", "decimal", "date", "boolean"] = "text"
    """What it holds."""
    decimals: int = Field(default=2, ge=0, le=9)
    """Most decimals, where it holds decimals."""
    description: str = ""
    """What it means, for the readers of the tables."""


class Ingestion(Section):
    """How raw rows are checked."""

    trust_input: bool = False
    """Leave `product_prefix`, `price_too_low` and `quantity_range` to the marts."""
    attributes: dict[AttributeName, Attribute] = Field(
        default={}, max_length=100, examples=[{"store": {"from": "Branch"}}]
    )
    """Columns beside the five of every sale: our name → what the files call it, and its type."""
    validation: Validation = Validation()
    """The rules."""


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
    """Columns to replace by a token: exactly `[transaction_id]`."""
    algorithm: Literal["sha256", "hmac-sha256"] = "sha256"
    """How a token is made. `sha256` needs no key, and whoever can enumerate ids can undo it."""
    key_file: str | None = Field(default=None, json_schema_extra=UNSHOWN)
    """File with the key of `hmac-sha256`. Default: the variable `PII_HASH_KEY`."""

    @field_validator("pii_fields")
    @classmethod
    def _only_the_id(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if fields != ("transaction_id",):
            msg = (
                "must be exactly [transaction_id]: the rules of other fields cannot look into a "
                "token, and without a token the raw identifier would reach the warehouses"
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
    def source(self) -> str | None:
        """The source, from `data_lake.source` or the bucket; None when neither is set."""
        lake = self.data_lake
        if lake.source or not lake.gcs_bucket:
            return lake.source
        return f"gs://{lake.gcs_bucket}/{lake.path.strip('/')}/*.csv"

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
            "rules": self.rules.model_dump(mode="json", exclude={"max_removed_share"}),
            "algorithm": self.security.algorithm,
            "timezone": self.orchestration.timezone,
        }
        if self.ingestion.attributes:  # without, digests are those of 0.1
            shaping["attributes"] = self.ingestion.model_dump(mode="json", include={"attributes"})
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
        if self.ingestion.attributes:
            shaping.append(
                [
                    [name, each.type, each.decimals]
                    for name, each in self.ingestion.attributes.items()
                ]
            )
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
