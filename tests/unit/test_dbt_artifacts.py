"""What is kept of dbt's own account of a build."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from sales_mart.dbt_runner.artifacts import ARTIFACTS, artifacts
from secrecy import find_in

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = {"a variable": "Canary-in-the-environment", "a user": "Canary-of-a-user"}


def test_paths_variables_and_ids_stay_behind(tmp_path: Path) -> None:
    folder = tmp_path / 'of "anna" é'
    (folder / "target").mkdir(parents=True)
    documents: dict[str, dict[str, Any]] = {
        "manifest.json": {
            "metadata": {
                "dbt_version": "1.11.16",
                "env": {"DBT_ENV_CUSTOM_ENV_X": SECRETS["a variable"]},
                "user_id": SECRETS["a user"],
            },
            "nodes": {
                "model.sales_mart.fact_sales": {
                    "compiled_path": f"{folder}/target/compiled/fact_sales.sql",
                    "original_file_path": "models/fact_sales.sql",
                    "root": str(folder / "project"),
                }
            },
        },
        "run_results.json": {
            "metadata": {"dbt_version": "1.11.16", "env": {"X": SECRETS["a variable"]}},
            "results": [{"unique_id": "model.sales_mart.fact_sales", "status": "success"}],
            "args": {
                "which": "build",
                "vars": {"window": None},
                "project_dir": str(folder / "project"),
                "invocation_command": SECRETS["a user"],
            },
        },
    }
    for name, document in documents.items():
        (folder / "target" / name).write_text(json.dumps(document), "utf-8")
    kept = artifacts(folder / "target", folder, folder / "project")
    assert [*kept] == [f"{name}.gz" for name in ARTIFACTS]
    texts = [gzip.decompress(content) for content in kept.values()]
    for text in texts:
        assert find_in(text, SECRETS | {"a folder": str(tmp_path)}, "an artefact") == []
    manifest, results = map(json.loads, texts)
    (node,) = manifest["nodes"].values()
    assert node == {
        "compiled_path": "target/compiled/fact_sales.sql",
        "original_file_path": "models/fact_sales.sql",
        "root": ".",
    }
    assert manifest["metadata"]["dbt_version"] == "1.11.16"
    assert results["args"] == {"which": "build", "vars": {"window": None}}
    assert results["results"] == documents["run_results.json"]["results"]
