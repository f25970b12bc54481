"""The tests, for pytest; trial runs the cases among them as well."""

from typing import Any, Final

import hypothesis

# How long an example takes says nothing on a machine that others use.
_TIMELESS: Final[dict[str, Any]] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("whole", **_TIMELESS)
hypothesis.settings.register_profile("quick", max_examples=25, **_TIMELESS)
hypothesis.settings.load_profile("whole")
