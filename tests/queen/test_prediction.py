"""Predictions: held against simulated queues, not against their own formula."""

from __future__ import annotations

import heapq
import random

from rbee_agent.queen.prediction import Predictor, Served


def simulate(seed: int, slots: int, spread: float):
    """Tasks through `slots` slots; each with what was predicted and what came of it."""
    random_ = random.Random(seed)
    predictor = Predictor()
    free = [0.0] * slots
    heapq.heapify(free)
    now = 0.0
    running: list[float] = []
    waiting: list[float] = []
    ended: list[tuple[float, float]] = []
    for _ in range(3000):
        now += random_.expovariate(slots * 0.95)
        while ended and ended[0][0] <= now:
            predictor.served("m", Served(0.0, heapq.heappop(ended)[1]))
        running = [end for end in running if end > now]
        waiting = [start for start in waiting if start > now]
        busy = min(slots, len([end for end in running if end > now]) - len(waiting))
        service = max(0.05, random_.gauss(1.0, spread))
        start_ms = predictor.start_ms("m", ahead=len(waiting), slots=slots, running=max(0, busy))
        left = random_.uniform(0.8, 3.0)
        probability = predictor.on_time("m", start_ms=start_ms, left_s=left, slots=slots)
        start = max(now, heapq.heappop(free))
        end = start + service
        heapq.heappush(free, end)
        heapq.heappush(ended, (end, service))
        running.append(end)
        if start > now:
            waiting.append(start)
        yield probability, end - now <= left, start_ms / 1000, start - now


def test_on_time_probability_is_calibrated():
    """Of the tasks given 0.8 to 0.9, 75 to 95 % are on time, over slots and spreads."""
    band = [
        on_time
        for seed in range(3)
        for slots in (1, 4)
        for spread in (0.1, 0.4)
        for place, (probability, on_time, _, _) in enumerate(simulate(seed, slots, spread))
        if place > 100 and 0.8 <= probability < 0.9
    ]
    assert len(band) > 300
    assert 0.75 <= sum(band) / len(band) <= 0.95, sum(band) / len(band)


def test_predicted_start_is_near_the_truth():
    """Over a busy queue the mean error is a fraction of a service time."""
    errors = [
        abs(predicted - real)
        for place, (_, _, predicted, real) in enumerate(simulate(1, 4, 0.3))
        if place > 100
    ]
    assert sum(errors) / len(errors) < 0.5


def test_more_time_never_lowers_the_probability():
    """The probability grows with the time that is left."""
    predictor = Predictor()
    for seconds in (1.0, 2.0, 1.5):
        predictor.served("m", Served(0.1, seconds - 0.1, 10))
    values = [predictor.on_time("m", start_ms=500, left_s=left / 10) for left in range(1, 60)]
    assert values == sorted(values)
    assert values[0] < 0.05
    assert values[-1] > 0.95


def test_a_longer_answer_takes_longer():
    """What used up its limit of tokens is scaled to the new task's; what stopped by itself not."""
    used_up = Served(0.5, 1.0, tokens=10, limit=10)
    stopped = Served(0.5, 1.0, tokens=10, limit=100)

    assert (used_up.at(20), used_up.at(5), used_up.at(None)) == (2.5, 1.0, 1.5)
    assert (stopped.at(20), stopped.at(5)) == (1.5, 1.0)


def test_a_task_that_runs_is_judged_by_those_that_ran_as_long():
    """Of short and long tasks, one that outlived the short ones is a long one."""
    predictor = Predictor()
    for _ in range(10):
        predictor.served("m", Served(0.0, 1.0))
        predictor.served("m", Served(0.0, 10.0))

    fresh = predictor.on_time("m", left_s=4.0)
    late = predictor.on_time("m", left_s=4.0, ran_s=3.0)

    assert 0.4 < fresh < 0.75
    assert late < 0.35
