"""The warehouses, a folder for each."""
