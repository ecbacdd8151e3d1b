"""The contract of what was published, as the Open Data Contract Standard has it.

It is made from what is data already: the columns, the YAML beside the models, the rules with their
reasons, the limits of the configuration, and the records of the run.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import yaml

from sales_mart.control_characters import escape_control_characters
from sales_mart.dbt_runner.documented import (
    DocumentedColumn,
    DocumentedModel,
    documented_models,
)
from sales_mart.marts import FACT_MODEL
from sales_mart.rows.rule_changes import ACCEPTED, rules_as_data
from sales_mart.rows.rule_kinds import Prefix
from sales_mart.rows.rules import OF_WHOLE_ROWS, mart_rules, reasons_of, row_rules, rules
from sales_mart.schema import schema_of
from sales_mart.steps.publication_records import time_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_mart.config import Config
    from sales_mart.dbt_runner.documented import DocumentedTest
    from sales_mart.schema import Kind, SaleColumn, TableColumn
    from sales_mart.steps.publication_records import PublicationRecords

__all__ = ["contract"]

_NAME = "sales_mart"
_LOGICAL: dict[Kind, str] = {
    "text": "string",
    "integer": "integer",
    "decimal": "number",
    "date": "date",
    "timestamp": "timestamp",
    "boolean": "boolean",
}
_TOKEN = "^[0-9a-f]{64}$"  # noqa: S105 - what a token looks like
_DIMENSIONS = {
    "missing": "completeness",
    "duplicate": "uniqueness",
    "conflicting": "uniqueness",
}
"""First word of a reason -> what kind of quality it is about; conformity for the others."""
_LIMITS = {
    "max_reject_share": "A run of which a larger share of rows is rejected changes nothing.",
    "max_removed_share": "A load after which a larger share of visible rows is gone is refused.",
}

_AGREEMENT = {
    "name": "reconcile",
    "type": "text",
    "description": "The warehouses agree with each other, and with the input, on each row.",
    "dimension": "consistency",
    "method": "reconciliation",
    "severity": "error",
}


class _Plain(yaml.SafeDumper):
    """Writes everything where it stands, without references to what stands above."""

    def ignore_aliases(self, data: Any) -> bool:
        """Ignore all of them."""
        del data
        return True


def contract(config: Config, records: PublicationRecords) -> bytes:
    """Return the contract of a published run; the same bytes for the same run.

    It holds no value of a row. Texts of the configuration stand in it, but for the accepted ones
    of a personal column.

    Args:
        config: The configuration.
        records: What the run wrote down.
    """
    objects = [*_objects(config, records)]
    servers = [
        {"server": name, **warehouse.address.server}
        for name, warehouse in records.warehouses.items()
    ]
    places = [dict(warehouse.place) for warehouse in records.warehouses.values()]
    content = json.dumps([objects, places], sort_keys=True).encode()
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([_NAME, places], sort_keys=True))),
        "name": _NAME,
        "version": f"{_version()}+{hashlib.sha256(content).hexdigest()[:12]}",
        "status": "active",
        "domain": "sales",
        "dataProduct": _NAME,
        "contractCreatedTs": time_of(records.publish.published_at),
        "description": {
            "purpose": "Sales by day and by month, the same to the cent in each warehouse.",
            "usage": "Read the marts; all of them change at once when a run is published.",
            "limitations": "No personal value is in them: identifiers and personal columns are "
            "tokens.",
        },
        "servers": servers,
        "schema": objects,
        "customProperties": [*_of_publication(config, records)],
    }
    return _yaml(document).encode()


def _yaml(document: Mapping[str, Any]) -> str:
    def written(*, allow_unicode: bool) -> str:
        return yaml.dump(
            document, Dumper=_Plain, sort_keys=False, allow_unicode=allow_unicode, width=100
        )

    text = written(allow_unicode=True)
    # What moves a cursor or turns a line round would do so to whoever looks at the file.
    return text if escape_control_characters(text) == text else written(allow_unicode=False)


def _version() -> str:
    from sales_mart import __version__

    return __version__


def _properties(values: Mapping[str, object]) -> list[dict[str, object]]:
    return [
        {"property": name, "value": value}
        for name, value in values.items()
        if value is not None and value != []
    ]


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items()) if count}


def _of_publication(config: Config, records: PublicationRecords) -> Iterator[dict[str, object]]:
    plan, seal = records.plan, records.seal
    yield from _properties(
        {
            "runId": records.run_id,
            "businessDate": str(plan.business_date) if plan else None,
            "mode": str(plan.mode) if plan else None,
            "publishedAt": time_of(records.publish.published_at),
            "publications": {
                name: {"sequence": load.sequence, "rows": records.publish.rows[name]}
                for name, load in records.loads.items()
            },
            "rowsRead": seal.rows_read if seal else None,
            "rowsValid": seal.rows_valid if seal else None,
            "rowsRejected": seal.rows_rejected if seal else None,
            "rejectedByReason": _some(seal.reasons) if seal else None,
            "excludedByReason": _some(seal.excluded) if seal else None,
            "configurationDigest": plan.config_digest if plan else None,
            "tokenAlgorithm": config.security.algorithm,
            "tokenKeyId": seal.key_id if seal else None,
            "salesMartVersion": _version(),
        }
    )


def _objects(config: Config, records: PublicationRecords) -> Iterator[dict[str, Any]]:
    """Return the marts that readers see, the facts first."""
    schema = schema_of(config)
    documented = documented_models(config.transformation.models_path, schema)
    every = {name: each.marts for name, each in records.warehouses.items()}
    listed = next(iter(every.values()), ())
    for mart in sorted(listed, key=lambda each: (each.model != FACT_MODEL, each.name)):
        if mart.publish != "mart":
            continue
        there = {
            name: next(each for each in marts if each.model == mart.model)
            for name, marts in every.items()
        }
        said = documented.get(mart.model, DocumentedModel())
        facts = _Facts(config) if mart.model == FACT_MODEL else None
        keys = (schema.named("key"),) if facts else mart.grain
        kinds = {name: records.warehouses[name].published_as for name in there}
        yield {
            "name": mart.model,
            "physicalName": mart.name,
            "logicalType": "object",
            "physicalType": next(iter(kinds.values())),
            "description": said.description,
            "dataGranularityDescription": f"One row for each {' and '.join(keys)}."
            if keys
            else "One row in all.",
            "properties": [
                _property(
                    *(column, keys, facts, said),
                    {
                        name: records.warehouses[name].dialect.type_of(its.columns[ordinal])
                        for name, its in there.items()
                    },
                )
                for ordinal, column in enumerate(mart.columns)
            ],
            "quality": [
                *_uniqueness(keys),
                *(facts.quality if facts else ()),
                *map(_dbt_test, said.tests),
                _AGREEMENT,
            ],
            "customProperties": _properties(
                {
                    "physicalNames": {name: its.name for name, its in there.items()},
                    "physicalTypes": kinds,
                }
            ),
        }


def _property(
    column: TableColumn,
    keys: tuple[str, ...],
    facts: _Facts | None,
    said: DocumentedModel,
    types: Mapping[str, str],
) -> dict[str, Any]:
    """Return a column of a mart, of which each warehouse has a type of its own."""
    documented = said.columns.get(column.name, DocumentedColumn("", (), ()))
    found: dict[str, Any] = {
        "name": column.name,
        "logicalType": _LOGICAL[column.kind],
        "physicalType": next(iter(types.values())),
        "description": documented.description,
        "required": not column.is_nullable,
    }
    if column.name in keys:
        found |= {"primaryKey": True, "primaryKeyPosition": keys.index(column.name) + 1}
    quality: list[dict[str, Any]] = []
    if not column.is_nullable:
        quality.append(_library("nullValues", "completeness"))
    if facts:
        found |= facts.about(column.name)
        quality += facts.quality_of(column.name)
    quality += map(_dbt_test, documented.tests)
    found["customProperties"] = _properties({"physicalTypes": types})
    return found | ({"quality": quality} if quality else {})


class _Facts:
    """What the configuration says of the columns and rows of the facts."""

    def __init__(self, config: Config) -> None:
        # Rows that `validate` lets through with `trust_input` are left out by the marts.
        self._config = mart_rules(config)
        self._schema = schema_of(self._config)
        self._reasons = reasons_of(self._config)
        self._values = rules_as_data(self._config)

    def about(self, name: str) -> dict[str, Any]:
        """Say whether a column holds tokens, and which texts it may hold."""
        column = self._column(name)
        if column is None:
            return {}
        if column.is_personal:
            return {
                "logicalTypeOptions": {"pattern": _TOKEN},
                "classification": "pseudonymised",
                "tags": ["personal"],
                "transformDescription": f"Token of the source's text, by "
                f"{self._config.security.algorithm}.",
            }
        found: dict[str, Any] = {"classification": "internal"}
        for rule in rules(self._config):
            if isinstance(rule, Prefix) and rule.prefix and rule.field == column.field:
                found["logicalTypeOptions"] = {"pattern": f"^{re.escape(rule.prefix)}"}
        return found

    def quality_of(self, name: str) -> list[dict[str, Any]]:
        """Return the rules of a column: the texts that it may hold, and why rows are rejected."""
        column = self._column(name)
        if column is None or column.field is None:
            return []
        found: list[dict[str, Any]] = []
        if column.accepted and not column.is_personal:
            texts = {"arguments": {"validValues": [*column.accepted]}}
            found.append(_library("invalidValues", "conformity") | texts)
        own = [rule.reason for rule in rules(self._config) if rule.field == column.field]
        return found + [self._rule(reason) for reason in dict.fromkeys(own)]

    @property
    def quality(self) -> list[dict[str, Any]]:
        """The rules of whole rows, and the limits of a run."""
        several = [rule.reason for rule in row_rules(self._config)]
        return [
            *(self._rule(reason) for reason in (*OF_WHOLE_ROWS, *several)),
            *(
                {
                    "name": name,
                    "type": "custom",
                    "engine": "sales-mart",
                    "description": text,
                    "severity": "error",
                    "implementation": {
                        f"ingestion.validation.{name}": getattr(self._config.rules, name)
                    },
                }
                for name, text in _LIMITS.items()
            ),
        ]

    def _column(self, name: str) -> SaleColumn | None:
        return next((each for each in self._schema.columns if each.name == name), None)

    def _rule(self, reason: str) -> dict[str, Any]:
        """Return a reason to reject a row, with the value of its rule."""
        said = self._reasons[reason]
        value = self._values.get(reason)
        if isinstance(value, dict) and ACCEPTED in value:
            value = None  # they stand as valid values, but for those of a personal column
        return {
            "name": reason,
            "type": "text",
            "description": f"A row is rejected where {said.meaning}.",
            "dimension": _DIMENSIONS.get(reason.partition("_")[0], "conformity"),
            "severity": "error",
            "customProperties": _properties({"value": value, "setBy": [*said.keys]}),
        }


def _library(metric: str, dimension: str) -> dict[str, Any]:
    return {"type": "library", "metric": metric, "mustBe": 0, "dimension": dimension}


def _uniqueness(keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if keys:
        found = _library("duplicateValues", "uniqueness")
        yield found | {"arguments": {"properties": [*keys]}}


def _dbt_test(test: DocumentedTest) -> dict[str, Any]:
    return {
        "name": test.name,
        "type": "custom",
        "engine": "dbt",
        "severity": "error",
        "implementation": {test.kind: dict(test.arguments)},
    } | ({"description": test.description} if test.description else {})
