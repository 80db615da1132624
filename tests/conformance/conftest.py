"""Each promise is tested on each case: the tiny ones, and, marked slow, all others."""

import pytest
from conformance.cases import FULL, TINY


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        slow = [pytest.param(name, marks=pytest.mark.slow) for name in FULL]
        metafunc.parametrize("case", [*TINY, *slow])
