"""The reference is what the code says, and the API page leaves nothing public out."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from typing import TYPE_CHECKING

import pytest

import sales_mart
from documentation import ROOT
from sales_mart.config.keys import keys
from sales_mart.rows.reasons import REASONS

if TYPE_CHECKING:
    from types import ModuleType

REFERENCE = ROOT / "docs" / "reference"
TEMPLATE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "scripts" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference_pages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_generated_sections_are_up_to_date(tool: ModuleType) -> None:
    for page in sorted(REFERENCE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert text == tool.refreshed(page), f"{page.name}: run scripts/reference.py"


def test_every_section_stands_on_some_page(tool: ModuleType) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    for name in tool.SECTIONS:
        assert pages.count(f"<!-- generated: {name} -->") == 1


def test_every_key_and_every_reason_is_described() -> None:
    configuration = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    reasons = (REFERENCE / "reasons.md").read_text(encoding="utf-8")
    for key in keys().values():
        assert f"`{key.dotted}`" in configuration
        assert f"`{key.variable}`" in configuration
        assert key.description, f"{key.dotted} has no description"
    for reason in REASONS:
        assert f"`{reason}`" in reasons


def test_everything_public_is_on_the_api_page() -> None:
    documented = set(TEMPLATE.findall((REFERENCE / "api.md").read_text(encoding="utf-8")))
    for name in sales_mart.__all__:
        if name != "__version__":
            value = getattr(sales_mart, name)
            home = f"{value.__module__}.{name}"
            assert {home, f"sales_mart.{name}"} & documented, f"{name} is not on the API page"
    for name in _module_names("sales_mart.testing"):
        assert f"sales_mart.testing.{name}" in documented or "sales_mart.testing" in documented


def test_the_api_page_names_what_there_is() -> None:
    for dotted in TEMPLATE.findall((REFERENCE / "api.md").read_text(encoding="utf-8")):
        module, _, name = dotted.rpartition(".")
        try:
            # A module is an attribute of its package once it is imported, and not before.
            if importlib.util.find_spec(dotted) is None:
                assert hasattr(importlib.import_module(module), name), dotted
        except ImportError:
            assert hasattr(importlib.import_module(module), name), dotted


def _module_names(module: str) -> list[str]:
    return importlib.import_module(module).__all__
