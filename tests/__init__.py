"""The tests, for pytest; trial runs the cases among them as well."""

import os
import sys
from typing import Any, Final

import hypothesis

# The programs that the tests start would compile the package each time; pytest would rewrite each test module.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes says nothing on a machine that others use.
_TIMELESS: Final[dict[str, Any]] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("whole", **_TIMELESS)
hypothesis.settings.register_profile("quick", max_examples=25, **_TIMELESS)
hypothesis.settings.load_profile("whole")
