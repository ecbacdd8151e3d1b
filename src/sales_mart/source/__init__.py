"""The source: objects, and CSV files as people have them."""
