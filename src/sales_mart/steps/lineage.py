"""The events of a published run as OpenLineage has them, one JSON object a line.

Four events: START and COMPLETE of the run, which made the raw tables and the marts from the
source; and of its checks, which read the marts.
"""

from __future__ import annotations

import os.path
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from sales_mart.control_characters import escape_control_characters, escape_json
from sales_mart.dbt_runner.documented import DocumentedModel, documented_models
from sales_mart.schema import schema_of
from sales_mart.steps.column_lineage import (
    Dataset,
    fields_of_source,
    mart_lineage,
    raw_lineage,
    schema_fields,
)
from sales_mart.steps.publication_records import time_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sales_mart.config import Config
    from sales_mart.lake.records import NodeResult, SourceObject
    from sales_mart.marts import Mart
    from sales_mart.schema import TableColumn
    from sales_mart.steps.publication_records import PublicationRecords
    from sales_mart.warehouses.base import Warehouse

__all__ = ["MOST_INPUTS", "lineage"]

MOST_INPUTS = 100
"""Source objects that are listed one by one; of more their folder is the input."""
_NAMESPACE = "sales_mart"
_SPEC = "https://openlineage.io/spec"
_FACETS = {
    "columnLineage": ("ColumnLineageDatasetFacet", "1-2-0"),
    "dataQualityAssertions": ("DataQualityAssertionsDatasetFacet", "1-1-0"),
    "documentation": ("DocumentationDatasetFacet", "1-1-0"),
    "inputStatistics": ("InputStatisticsInputDatasetFacet", "1-0-0"),
    "jobType": ("JobTypeJobFacet", "2-0-4"),
    "nominalTime": ("NominalTimeRunFacet", "1-0-1"),
    "outputStatistics": ("OutputStatisticsOutputDatasetFacet", "1-0-2"),
    "parent": ("ParentRunFacet", "1-2-0"),
    "processing_engine": ("ProcessingEngineRunFacet", "1-1-1"),
    "schema": ("SchemaDatasetFacet", "1-2-0"),
    "tags": ("TagsRunFacet", "1-0-0"),
    "version": ("DatasetVersionDatasetFacet", "1-0-1"),
}
"""Key of a facet -> name and version of its schema."""
_PASSED = "pass"
_DISK = "file"


class _Source(NamedTuple):
    """One input: an object, or a folder of many.

    Attributes:
        dataset: Its name.
        size: Bytes as stored.
        files: Objects in it.
    """

    dataset: Dataset
    size: int
    files: int


def lineage(config: Config, records: PublicationRecords) -> bytes:
    """Return the events of a published run; the same bytes for the same run.

    They hold no value of a row. Of a source on a disk they name what is below its folder.

    Args:
        config: The configuration.
        records: What the run wrote down.
    """
    return "".join(f"{escape_json(each)}\n" for each in _events(config, records)).encode()


def _events(config: Config, records: PublicationRecords) -> Iterator[dict[str, Any]]:
    places = [*next(iter(records.warehouses.values())).place.values()]
    name = ".".join(places)
    run = {"runId": _uuid(name, records.run_id), "facets": _about_run(records)}
    job = {"namespace": _NAMESPACE, "name": name, "facets": _job_facet("PIPELINE")}
    sources = [*_sources(records.plan.objects)] if records.plan else []
    inputs = [_input(config, each) for each in sources]
    began = min(load.loaded_at for load in records.loads.values())
    ended = records.publish.published_at
    yield _event("START", began, run, job, inputs, [])
    outputs = [*_outputs(config, records, [each.dataset for each in sources])]
    yield _event("COMPLETE", ended, run, job, inputs, outputs)
    parent = {"run": {"runId": run["runId"]}, "job": {"namespace": _NAMESPACE, "name": name}}
    checks_run = {
        "runId": _uuid(name, records.run_id, "checks"),
        "facets": {"parent": _facet("parent", **parent)},
    }
    checks = {"namespace": _NAMESPACE, "name": f"{name}.checks", "facets": _job_facet("TEST")}
    last = max(load.loaded_at for load in records.loads.values())
    checked = [*_checked(config, records)]
    yield _event("START", last, checks_run, checks, [], [])
    yield _event("COMPLETE", ended, checks_run, checks, checked, [])


def _uuid(*parts: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, ":".join(("urn", _NAMESPACE, *parts))))


def _producer() -> str:
    from sales_mart import __version__

    return f"pkg:pypi/sales-mart@{__version__}"


def _event(  # noqa: PLR0913 - what an event is made of
    kind: str,
    at: datetime,
    run: Mapping[str, Any],
    job: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": time_of(at),
        "run": run,
        "job": job,
        "inputs": inputs,
        "outputs": outputs,
        "producer": _producer(),
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def _facet(key: str, **fields: Any) -> dict[str, Any]:
    name, version = _FACETS[key]
    url = f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": _producer(), "_schemaURL": url, **fields}


def _job_facet(kind: str) -> dict[str, Any]:
    return {
        "jobType": _facet("jobType", processingType="BATCH", integration="SALES_MART", jobType=kind)
    }


def _about_run(records: PublicationRecords) -> dict[str, Any]:
    version = _producer().partition("@")[2]
    found = {"processing_engine": _facet("processing_engine", name=_NAMESPACE, version=version)}
    tags = {"run_id": records.run_id}
    if records.plan:
        day = f"{records.plan.business_date}T00:00:00Z"
        found["nominalTime"] = _facet("nominalTime", nominalStartTime=day)
        tags |= {"mode": str(records.plan.mode), "config_digest": records.plan.config_digest}
    if records.seal:
        tags |= {
            "key_id": records.seal.key_id,
            "rows_read": str(records.seal.rows_read),
            "rows_valid": str(records.seal.rows_valid),
            "rows_rejected": str(records.seal.rows_rejected),
        }
    listed = [{"key": key, "value": text, "source": "SALES_MART"} for key, text in tags.items()]
    return found | {"tags": _facet("tags", tags=listed)}


# --- what was read


def _sources(objects: Sequence[SourceObject]) -> Iterator[_Source]:
    """Yield the inputs of a run."""
    if len(objects) <= MOST_INPUTS:
        yield from (_Source(_named(each.uri, each.name), each.size, 1) for each in objects)
        return
    by_namespace: dict[str, list[tuple[str, int]]] = {}
    for each in objects:
        namespace, path = _parts(each.uri)
        by_namespace.setdefault(namespace, []).append((path, each.size))
    for namespace, listed in by_namespace.items():
        folder = os.path.commonpath([path for path, _ in listed])
        name = folder.rpartition("/")[2] if namespace == _DISK else folder
        size = sum(size for _, size in listed)
        yield _Source(Dataset(namespace, _shown(name or "/")), size, len(listed))


def _named(uri: str, name: str) -> Dataset:
    """Return an object's name: in a bucket its path, on a disk what is below the source's folder.

    The folders of a computer say whose it is.
    """
    namespace, path = _parts(uri)
    if namespace == _DISK:
        path = name or path.rpartition("/")[2]
    return Dataset(namespace, _shown(path))


def _parts(uri: str) -> tuple[str, str]:
    """Return the namespace of an address, and the path in it."""
    if "://" not in uri:
        return _DISK, uri
    parts = urlsplit(uri)
    bucket = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{bucket}", uri.split("/", 3)[-1]


def _shown(text: str) -> str:
    return escape_control_characters(text, on_one_line=True)


def _input(config: Config, source: _Source) -> dict[str, Any]:
    fields = [(_shown(name), "string", "") for name in fields_of_source(schema_of(config))]
    return {
        **source.dataset._asdict(),
        "facets": {"schema": _facet("schema", fields=schema_fields(fields))},
        "inputFacets": {
            "inputStatistics": _facet("inputStatistics", size=source.size, fileCount=source.files)
        },
    }


# --- what was made


def _outputs(
    config: Config, records: PublicationRecords, sources: Sequence[Dataset]
) -> Iterator[dict[str, Any]]:
    """Yield the raw tables and the marts of each warehouse, with the lineage of their columns."""
    schema = schema_of(config)
    documented = documented_models(config.transformation.models_path, schema)
    for name, warehouse in records.warehouses.items():
        raw = _raw(config, warehouse)
        load = records.loads[name]
        version = f"{records.run_id}/{load.sequence}"
        from_source = raw_lineage(schema, sources, config.security.algorithm)
        described = {each.name: each.description for each in schema.raw}
        about = "One row per valid transaction. Private to the pipeline."
        yield _output(
            raw,
            {
                **_described(warehouse, schema.raw, described, about),
                "columnLineage": _facet("columnLineage", fields=from_source),
            },
            version,
            load.rows,
        )
        for mart in warehouse.marts:
            said = documented.get(mart.model, DocumentedModel())
            descriptions = {key: each.description for key, each in said.columns.items()}
            from_raw = mart_lineage(mart, schema, said, raw)
            yield _output(
                _mart(warehouse, mart),
                {
                    **_described(warehouse, mart.columns, descriptions, said.description),
                    "columnLineage": _facet("columnLineage", fields=from_raw),
                },
                version,
                records.publish.rows[name].get(mart.name),
            )


def _raw(config: Config, warehouse: Warehouse) -> Dataset:
    table = config.data_warehouse.table
    return Dataset(*warehouse.address.dataset(warehouse.raw_schema, table))


def _mart(warehouse: Warehouse, mart: Mart) -> Dataset:
    return Dataset(*warehouse.address.dataset(warehouse.schema_of(mart), mart.name))


def _output(
    dataset: Dataset, facets: Mapping[str, Any], version: str, rows: int | None
) -> dict[str, Any]:
    counted = (
        {} if rows is None else {"outputStatistics": _facet("outputStatistics", rowCount=rows)}
    )
    return {
        **dataset._asdict(),
        "facets": {**facets, "version": _facet("version", datasetVersion=version)},
        "outputFacets": counted,
    }


def _described(
    warehouse: Warehouse,
    columns: Iterable[TableColumn],
    descriptions: Mapping[str, str],
    about: str,
) -> dict[str, Any]:
    """Return the facets of a table's columns and of its description."""
    fields = [
        (each.name, warehouse.dialect.type_of(each), descriptions.get(each.name, ""))
        for each in columns
    ]
    found = {"schema": _facet("schema", fields=schema_fields(fields))}
    return found | ({"documentation": _facet("documentation", description=about)} if about else {})


# --- what was checked


def _checked(config: Config, records: PublicationRecords) -> Iterator[dict[str, Any]]:
    """Yield the marts with the tests that they have passed."""
    documented = documented_models(config.transformation.models_path, schema_of(config))
    texts = {
        test.name: test.description
        for model in documented.values()
        for test in (*model.tests, *(each for c in model.columns.values() for each in c.tests))
    }
    built = {each.target: each for each in records.transform.targets} if records.transform else {}
    for name, warehouse in records.warehouses.items():
        nodes = built[name].nodes if name in built else ()
        for mart in warehouse.marts:
            assertions = [_assertion(each, texts) for each in nodes if each.tests == mart.model] + [
                *_agreement(records, name, mart)
            ]
            if assertions:
                yield {
                    **_mart(warehouse, mart)._asdict(),
                    "facets": {},
                    "inputFacets": {
                        "dataQualityAssertions": _facet(
                            "dataQualityAssertions", assertions=assertions
                        )
                    },
                }


def _assertion(node: NodeResult, texts: Mapping[str, str]) -> dict[str, Any]:
    name = node.unique_id.split(".")[2]
    description = texts.get(name)
    return {
        "assertion": name,
        "success": node.status == _PASSED,
        "severity": "warn" if node.status == "warn" else "error",
        **({"description": description} if description else {}),
        **({} if node.failures is None else {"actual": f"{node.failures} failures"}),
    }


def _agreement(records: PublicationRecords, name: str, mart: Mart) -> Iterator[dict[str, Any]]:
    """Yield what `reconcile` has found of a mart: on each warehouse the same rows."""
    found = records.reconcile
    if found is None or name not in found.targets:
        return
    counted = found.marts.get(name, {}).get(mart.name)
    facts = name in found.facts and mart.name == records.warehouses[name].fact_table
    if counted is None and not facts:
        return
    others = [each for each in found.targets if each != name]
    same = " and ".join(["the sealed input", *others])
    yield {
        "assertion": "reconcile",
        "success": True,
        "severity": "error",
        "description": f"Its rows agree with those of {same}.",
        "actual": f"{found.rows if counted is None else counted[0]} rows",
    }
