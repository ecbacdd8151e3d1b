{# The window: which sale dates, and which whole months, a run builds anew.

Conditions hold literals on the bare column only, so that BigQuery prunes partitions and PostgreSQL
can use an index. #}

{% macro is_in_window(column) -%}
    {%- set window = var('window') -%}
    {%- if window is none -%}
        true
    {%- elif not window -%}
        false
    {%- else -%}
        {%- set dates = [] -%}
        {%- for day in window -%}
            {%- do dates.append(date_literal(day)) -%}
        {%- endfor -%}
        {{ column }} in ({{ dates | join(', ') }})
    {%- endif -%}
{%- endmacro %}


{# The months that the window touches, as ranges of dates; neighbours become one range. #}
{% macro is_in_window_months(column) -%}
    {%- set window = var('window') -%}
    {%- if window is none -%}
        true
    {%- elif not window -%}
        false
    {%- else -%}
        {%- set ranges = [] -%}
        {%- for day in window | sort -%}
            {%- do date_literal(day) -%}
            {%- set month = (day[:4] | int) * 12 + (day[5:7] | int) - 1 -%}
            {%- if ranges and month <= ranges[-1][1] + 1 -%}
                {%- do ranges.append([ranges.pop()[0], month]) -%}
            {%- else -%}
                {%- do ranges.append([month, month]) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set conditions = [] -%}
        {%- for first, last in ranges -%}
            {%- do conditions.append(
                column ~ ' between ' ~ date_literal('%04d-%02d-01' % (first // 12, first % 12 + 1))
                ~ ' and ' ~ date_literal(month_end(last // 12, last % 12 + 1))
            ) -%}
        {%- endfor -%}
        ({{ conditions | join(' or ') }})
    {%- endif -%}
{%- endmacro %}


{# The last day of a month; the month after December 9999 has no first day to count back from. #}
{% macro month_end(year, month) -%}
    {%- if month == 2 -%}
        {%- set leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 -%}
        {%- set day = 29 if leap else 28 -%}
    {%- else -%}
        {%- set day = 30 if month in [4, 6, 9, 11] else 31 -%}
    {%- endif -%}
    {{ return('%04d-%02d-%02d' % (year, month, day)) }}
{%- endmacro %}
