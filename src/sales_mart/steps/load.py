"""Step `load`: the sealed rows become the raw table's, one transaction per warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_mart.lake.records import Seal
from sales_mart.progress import expect
from sales_mart.warehouses.base import open_warehouse

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.lake.records import Load
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.admission import LoadOptions

__all__ = ["load"]


def load(config: Config, run: RunFolder, target: str, options: LoadOptions | None = None) -> Load:
    """Load a sealed run into a warehouse and write the record `load-<name>`.

    Args:
        config: The configuration of the run.
        run: The run.
        target: The warehouse.
        options: What may be loaded that is refused otherwise. Default: a former run.

    Raises:
        ConfigurationError: A column has another type, key ids would mix, or access is refused.
        DataError: The batch has more dates than the warehouse changes at once, or the load is
            refused: by age, by rules, or for the rows that it would take away.
        SourceChangedError: A part is not the one that was sealed.
        TemporaryError: The server is away or busy, or another run loads at the same time.
        UnexpectedError: The table does not hold what the seal says; nothing was changed.
    """
    warehouse = open_warehouse(config, target)
    expect("rows", run.read("seal", Seal).rows_valid)
    return warehouse.load(run, options)
