"""Google's own SQL analyser, out of a wheel: what it accepts, BigQuery can read."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Tables = dict[str, dict[str, str]]
"""Full name of a table -> its columns -> their types."""


@cache
def _language() -> Any:
    import wasmtime
    import zetasql.core.wasm_client as wasm
    from zetasql.types import LanguageOptions, ProductMode

    plain = wasmtime.Config

    def cached() -> wasmtime.Config:
        # Compiling the analyser takes half a minute, once.
        config = plain()
        config.cache = True
        return config

    wasm.__dict__["Config"] = cached
    language: Any = LanguageOptions.maximum_features()
    language.product_mode = ProductMode.PRODUCT_EXTERNAL
    language.reserved_keywords = ["QUALIFY"]
    return language


def parse_script(sql: str) -> None:
    """Parse a script of several statements.

    Raises:
        zetasql.core.exceptions.ServerError: It is not GoogleSQL.
    """
    language = _language()
    from zetasql.api import Parser

    Parser.parse_script_static(sql, language)


def analyse(sql: str, tables: Tables, params: Mapping[str, str] | None = None) -> dict[str, str]:
    """Resolve a statement against tables: names, functions and types.

    Returns:
        The columns of a query's result with their types; nothing for other statements.

    Raises:
        zetasql.core.exceptions.ServerError: BigQuery could not run it.
    """
    language = _language()
    from zetasql.api import Analyzer, CatalogBuilder, TableBuilder
    from zetasql.types import AnalyzerOptions, TypeKind, ZetaSQLBuiltinFunctionOptions

    builder = CatalogBuilder("catalog").with_builtin_functions(
        ZetaSQLBuiltinFunctionOptions(language_options=language)
    )
    catalog: Any = builder.build()
    for name, columns in tables.items():
        table = TableBuilder(name)
        for column, kind in columns.items():
            table.add_column(column, getattr(TypeKind, f"TYPE_{kind}"))
        catalog.table.append(table.build())
    for name, kind in (params or {}).items():
        sql = sql.replace(f"@{name}", f"cast(null as {kind})")
    options = AnalyzerOptions(language_options=language)
    statement: Any = Analyzer(options, catalog).analyze_statement(sql)
    found = getattr(statement, "output_column_list", None) or []
    return {
        output.name: TypeKind(output.column.type.type_kind).name.removeprefix("TYPE_")
        for output in found
    }


def evaluate(sql: str) -> list[str | None]:
    """Run a query without tables by Google's reference implementation.

    Returns:
        The texts of its one row; cast what is not a text.
    """
    language = _language()
    from zetasql.api import CatalogBuilder, PreparedQuery
    from zetasql.types import AnalyzerOptions, ZetaSQLBuiltinFunctionOptions

    builder = CatalogBuilder("catalog").with_builtin_functions(
        ZetaSQLBuiltinFunctionOptions(language_options=language)
    )
    query: Any = PreparedQuery.builder()
    query.set_sql(sql).set_catalog(builder.build())
    query.set_analyzer_options(AnalyzerOptions(language_options=language))
    (found,) = query.prepare().execute().content.table_data.row
    return [value.string_value for value in found.cell]
