"""The lake: storage, the runs in it, and their records and Parquet files."""
