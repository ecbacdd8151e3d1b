"""How to reach the warehouses: connections, credentials and their errors in our words."""
