import pytest

from keras_senet.benchmark.timing import Ratio, in_turn, ratio


class Clock:
    """A clock that only calls move."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def call(self, name, *seconds):
        """A call that takes each of the times in turn, the last one from then on."""
        left = list(seconds)

        def run():
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_every_subject_gets_its_turn_in_every_round():
    clock = Clock()
    calls = {name: clock.call(name, 1.0) for name in "abc"}
    times = in_turn(calls, rounds=4, clock=clock)
    assert times == dict.fromkeys("abc", (1.0,) * 4)
    warm_up, rounds = clock.calls[:6], clock.calls[6:]
    assert sorted(warm_up) == sorted("abcabc")
    turns = [tuple(rounds[i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(turn) == list("abc") for turn in turns)
    assert len(set(turns)) > 1, "the order must change"


def test_first_calls_are_not_counted():
    clock = Clock()
    times = in_turn({"a": clock.call("a", 100, 50, 1)}, rounds=3, clock=clock)
    assert times == {"a": (1.0, 1.0, 1.0)}


def test_a_turn_is_the_median_of_as_many_calls_as_fill_it():
    clock = Clock()
    # Twice before the rounds; then a turn of four calls of 0.25 s.
    calls = {"a": clock.call("a", 9, 0.25, 5.0, 0.2, 0.3, 0.25, 0.25)}
    times = in_turn(calls, rounds=2, turn_seconds=1.0, clock=clock)
    assert times["a"] == pytest.approx((0.275, 0.25))
    assert len(clock.calls) == 2 + 2 * 4


def test_a_ratio_is_taken_round_by_round():
    # All is twice as slow in the last round; the ratio knows nothing of it.
    result = ratio([2, 2, 2, 4.4], [1, 1, 1, 2])
    assert result == Ratio(value=2, low=2, high=pytest.approx(2.05))
    assert str(ratio([5], [8])) == "0.625"
    assert str(ratio([1, 2, 3], [1, 1, 1])) == "2.000 (1.500 to 2.500)"


@pytest.mark.parametrize(("ours", "theirs"), [([1, 2], [1]), ([], [])])
def test_a_ratio_needs_the_same_rounds(ours, theirs):
    with pytest.raises(ValueError, match="the same rounds"):
        ratio(ours, theirs)
