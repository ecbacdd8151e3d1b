"""Random histories through dbt and publish: the marts are sums of the latest deliveries."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from histories import Oracle, Replay, Step, site_of
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform
from warehouses import ask, fact_table, mart_schema, table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from sales_mart.config import Config


@contextmanager
def published_histories(
    config: Config, lake: Path, targets: Sequence[str]
) -> Generator[Callable[[Sequence[Step]], None]]:
    """Give what loads a history after those before, publishes what it left, and looks at it."""
    with ExitStack() as stack:
        replay = Replay(*(stack.enter_context(site_of(config, lake, each)) for each in targets))

        def check(steps: Sequence[Step]) -> None:
            rules, run = replay.history(steps)
            transform(rules, run, targets)
            reconcile(rules, run, targets)
            publish(rules, run, targets)
            for target in targets:
                assert _shown(rules, target) == _marts_of(replay.truth), (target, steps)

        yield check


def _shown(config: Config, target: str) -> list[Counter[tuple[Any, ...]]]:
    schema = mart_schema(config, target)
    columns = {
        fact_table(target): "transaction_id, price, amount, sale_date",
        "sales_by_date": "sale_date, total_amount, transaction_count",
        "sales_by_product": "product, total_amount, transaction_count",
    }
    return [
        Counter(ask(config, target, f"select {listed} from {table(config, target, schema, name)}"))
        for name, listed in columns.items()
    ]


def _marts_of(truth: Oracle) -> list[Counter[tuple[Any, ...]]]:
    """Add the visible rows up: each is one piece of the same product."""
    facts = [
        (each.transaction_id, Decimal(each.price), Decimal(each.price), each.sale_day)
        for each in truth.visible()
    ]
    days: defaultdict[Any, list[Decimal]] = defaultdict(list)
    for _, _, amount, day in facts:
        days[day].append(amount)
    whole = [("Halal Mouse", sum(fact[2] for fact in facts), len(facts))] if facts else []
    return [
        Counter(facts),
        Counter((day, sum(amounts), len(amounts)) for day, amounts in days.items()),
        Counter(whole),
    ]
