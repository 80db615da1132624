"""Times of several calls in turn, and their ratios."""

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

# A turn of a fast call is repeated until it lasts about so long.
TURN_SECONDS = 0.2
_MOST_CALLS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """How one thing compares with another, measured in turn.

    Attributes:
        value: The median over the rounds of one's figure by the other's in that round.
        low: Their lower quartile.
        high: Their upper quartile.
    """

    value: float
    low: float
    high: float

    def __str__(self):
        if self.low == self.value == self.high:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio(samples: Sequence[float], others: Sequence[float]) -> Ratio:
    """Returns the ratio of two series of figures, taken round by round.

    What slows the machine down for a while slows both of a round, so it leaves their
    ratio alone.

    Raises:
        ValueError: If the series have not the same number of rounds.
    """
    if len(samples) != len(others) or not samples:
        raise ValueError(
            "Both series must have the same rounds, at least one. Received: "
            f"{len(samples)} and {len(others)} figures."
        )
    low, value, high = np.quantile(np.divide(samples, others), (0.25, 0.5, 0.75))
    return Ratio(value=float(value), low=float(low), high=float(high))


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    turn_seconds: float = TURN_SECONDS,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, tuple[float, ...]]:
    """Times calls in turn: each once a round, in an order drawn anew for each round.

    Each call is made twice before the first round. A turn is one call, or where all
    are fast as many of each, and its time is their median.

    Args:
        calls: The calls by name.
        rounds: How many turns each gets.
        turn_seconds: About how long a turn of the slowest call lasts at least.
        seed: Of the order.
        clock: Returns seconds.

    Returns:
        The seconds of one call, for each name and round.
    """

    def seconds(call):
        start = clock()
        call()
        return clock() - start

    for call in calls.values():
        call()
    slowest = max(seconds(call) for call in calls.values())
    repeats = min(max(math.ceil(turn_seconds / max(slowest, 1e-9)), 1), _MOST_CALLS)
    order = np.random.default_rng(seed)
    times = {name: [] for name in calls}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in order.permutation(list(calls)):
                turn = [seconds(calls[name]) for _ in range(repeats)]
                times[name].append(float(np.median(turn)))
            gc.collect()
    finally:
        if collects:
            gc.enable()
    return {name: tuple(samples) for name, samples in times.items()}
