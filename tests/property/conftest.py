"""How Hypothesis runs here."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

# The first example of a test compiles regular expressions and starts thread pools, so single
# examples have no deadline; `explain` traces every line and takes minutes on a failure.
settings.register_profile(
    "sales_mart",
    deadline=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("sales_mart")
