"""sales_mart beside what a user would pick instead: `python -m benchmarks` prints one table."""
