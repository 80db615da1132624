"""Each promise is tested on each case: the tiny ones, and, marked slow, all others."""

from conformance.cases import SLOW, TINY


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [*TINY, *SLOW])
