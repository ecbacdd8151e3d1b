"""The row: its rules, the check of many at once, tokens, and frames."""
