"""The same examples on every run; `HEADRACE_TEST_SEARCH=1000` looks for new ones, so many by test."""

import os

from hypothesis import settings

search = os.environ.get("HEADRACE_TEST_SEARCH")
# No deadline: a slow machine is no finding.
settings.register_profile("fixed", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("search", deadline=None, max_examples=int(search or 100))
settings.load_profile("search" if search else "fixed")
