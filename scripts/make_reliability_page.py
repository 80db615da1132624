"""Runs the tests of faults, and writes the table of docs/reliability.md.

python scripts/make_reliability_page.py

With kinds of faults as arguments, only their tests run, and only their rows change.
"""

import collections
import os
import re
import sys
import time
from pathlib import Path

import pytest

from keras_senet.utils.markdown import markdown_table
from keras_senet.utils.pages import read_block, write_block

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
ROW = re.compile(r"\| ([^|]+) \| ([\d,]+) \| ([\d,]+) \|")


class Counts:
    """A plugin of pytest: tries and survivals by the kind that the marker names.

    And skipped tests by the reason.
    """

    def __init__(self, kinds):
        self.kinds = kinds
        self.tries = collections.Counter()
        self.survivals = collections.Counter()
        self.skips = collections.Counter()

    def pytest_collection_modifyitems(self, items):
        if self.kinds:
            items[:] = [item for item in items if _kind(item) in self.kinds]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = (yield).get_result()
        if report.skipped:
            self.skips[report.longrepr[2].removeprefix("Skipped: ")] += 1
            return
        if report.when != "call" and report.passed:
            return
        tries = survivals = dict(report.user_properties).get("tries", 1)
        found = getattr(item, "hypothesis_statistics", "")
        if examples := re.findall(r"(\d+) (passing|failing)", found):
            tries = sum(int(count) for count, _ in examples)
            survivals = sum(int(count) for count, how in examples if how == "passing")
        elif report.failed:
            survivals = 0
        self.tries[_kind(item)] += tries
        self.survivals[_kind(item)] += survivals


def _kind(item):
    marker = item.get_closest_marker("faults")
    return marker and marker.args[0]


def main(kinds) -> int:
    """Returns pytest's exit code."""
    os.chdir(ROOT)
    counts, start = Counts(kinds), time.perf_counter()
    files = [
        str(file)
        for file in (ROOT / "tests").rglob("test_*.py")
        if "mark.faults(" in file.read_text("utf-8")  # to import the others takes long
    ]
    code = pytest.main(["-m", "faults", "-q", *sorted(files)], plugins=[counts])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        print(
            f"error: {PAGE.name} needs tests that ran to their end. Received: pytest's "
            f"exit code {code:d}. The page stays as it is.",
            file=sys.stderr,
        )
        return int(code)
    minutes = (time.perf_counter() - start) / 60
    skips = (f"{n} ({reason})" for reason, n in counts.skips.most_common())
    last = (
        f"The last run took {minutes:.0f} minutes on {os.cpu_count()} cores. "
        f"Skipped tests: {', '.join(skips) or 'none'}."
    )
    rows = {}
    if kinds:
        written = read_block(PAGE, "faults")[1]
        found = ROW.findall(written)
        rows = {kind: [int(n.replace(",", "")) for n in ns] for kind, *ns in found[:-1]}
        last = written.splitlines()[-1] if written else last
    rows |= {kind: [n, counts.survivals[kind]] for kind, n in counts.tries.items()}
    totals = [sum(column) for column in zip(*rows.values(), strict=True)]
    lost = totals[0] - totals[1]
    table = markdown_table(
        ("fault", ">tries", ">survived"),
        [
            (kind, f"{tries:,}", f"{good:,}")
            for kind, (tries, good) in [*sorted(rows.items()), ("together", totals)]
        ],
    )
    text = f"{table}\n\nNot survived: {f'{lost:,}' if lost else 'none'}.\n\n{last}"
    write_block(PAGE, "faults", text)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
