"""Made-up sales data."""
