"""The report of a run: the figures that it shows, and the page."""
