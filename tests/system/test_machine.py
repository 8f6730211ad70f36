"""How work is spread over threads."""

from __future__ import annotations

import time

import pytest

from defusion.system.machine import in_order


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_come_in_order_and_never_far_ahead(threads: int) -> None:
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        time.sleep(0.001 * (task % 3))
        return task * task

    results = in_order(work, range(20), threads)
    assert next(results) == 0
    time.sleep(0.02)
    assert len(begun) <= threads + 1
    assert list(results) == [task * task for task in range(1, 20)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_task_ends_the_rest(threads: int) -> None:
    def work(task: int) -> int:
        if task == 3:
            raise ValueError("three")
        return task

    with pytest.raises(ValueError, match="three"):
        list(in_order(work, range(1000), threads))


def test_what_waits_behind_a_failing_task_is_not_begun() -> None:
    begun: list[int] = []

    def work(task: int) -> None:
        begun.append(task)
        if task == 2:
            time.sleep(0.05)  # meanwhile task 3 waits behind this one
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(in_order(work, range(6), 1))
    assert begun == [0, 1, 2]
