"""What a delivery changes in a raw table, where a server takes such statements one by one.

A row is visible unless a later business date has its identifier; on one date a delivery goes before
the snapshot. Each superseded row is marked with the business date of the next later row of its
identifier, so a delivery that comes or goes changes the marks of its neighbours alone. Only rows of
identifiers that the batch, or the delivery that it replaces, has are looked up, by an index.

The names in braces are tables, columns and values. `part` and `place` are what tells rows of a raw
table apart: the one of its tables that has the row, and where it stands in there.
"""

from __future__ import annotations

from typing import LiteralString

__all__ = ["COUNTS", "HIDE", "INSERT", "SETTLED", "SHOW", "WINDOW"]

# Every row of the identifiers that the delivery touches, with its mark of before and of now. Each
# of the two look-ups has an index of its own, where there are any. A row of the batch has no place
# yet.
SETTLED: LiteralString = """
    with touched as (
        select transaction_id from {batch}
        union
        select transaction_id from {removed}
    ),
    versions as (
        select
            raw.{place} as place,
            raw.transaction_id,
            {part} as part,
            raw.business_date,
            raw.run_id is distinct from {snapshot} as is_delivery,
            raw.sale_date,
            raw.superseded_by as mark_before
        from touched
        inner join {raw} as raw on touched.transaction_id = raw.transaction_id
        where raw.superseded_by is null
        union all
        select
            raw.{place} as place,
            raw.transaction_id,
            {part} as part,
            raw.business_date,
            raw.run_id is distinct from {snapshot} as is_delivery,
            raw.sale_date,
            raw.superseded_by as mark_before
        from touched
        inner join {raw} as raw on touched.transaction_id = raw.transaction_id
        where raw.superseded_by is not null
        union all
        select
            null as place,
            transaction_id,
            null as part,
            {day} as business_date,
            true as is_delivery,
            sale_date,
            null as mark_before
        from {batch}
    )
    select
        place,
        transaction_id,
        part,
        sale_date,
        mark_before,
        lead(business_date) over (
            partition by transaction_id
            order by business_date, is_delivery
        ) as mark
    from versions
"""
# In this order, and each for all tables, so that no identifier has two visible rows at any time.
HIDE: LiteralString = """
    update {raw} as raw
    set superseded_by = {settled}.mark
    from {settled}
    where
        raw.{place} = {settled}.place
        and raw.transaction_id = {settled}.transaction_id
        and {settled}.part = {this_part}
        and {settled}.mark is not null
        and {settled}.mark is distinct from {settled}.mark_before
"""
SHOW: LiteralString = """
    update {raw} as raw
    set superseded_by = null
    from {settled}
    where
        raw.{place} = {settled}.place
        and raw.transaction_id = {settled}.transaction_id
        and {settled}.part = {this_part}
        and {settled}.mark is null
        and {settled}.mark_before is not null
"""
INSERT: LiteralString = """
    insert into {raw} ({columns}, run_id, business_date, superseded_by)
    select {listed}, {run}, {day}, {settled}.mark
    from {batch}
    inner join {settled} on {batch}.transaction_id = {settled}.transaction_id
    where {settled}.place is null
"""
COUNTS: LiteralString = """
    select
        count(*) filter (where place is null and mark is null) as rows,
        count(*) filter (where place is null and mark is not null) as hidden_rows,
        (select count(*) from {removed} where was_visible) as removed_rows,
        count(*) filter (
            where place is not null and mark_before is null and mark is not null
        ) as superseded_rows,
        count(*) filter (
            where place is not null and mark_before is not null and mark is null
        ) as shown_again_rows
    from {settled}
"""
WINDOW: LiteralString = """
    select sale_date from {removed}
    where was_visible
    union
    select sale_date from {settled}
    where case
        when place is null then mark is null
        else (mark is null) <> (mark_before is null)
    end
    order by sale_date
"""
