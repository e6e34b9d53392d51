import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from mrdcae_lite.runtime import parallel
from mrdcae_lite.runtime.parallel import VARIABLE, ordered_map, thread_count, tile_threads


def test_the_number_of_threads_is_the_one_asked_for_or_the_variable_s(monkeypatch):
    monkeypatch.setenv(VARIABLE, "3")
    assert (thread_count(), thread_count(5)) == (3, 5)
    monkeypatch.setenv(VARIABLE, "")
    assert thread_count() >= 1
    monkeypatch.delenv(VARIABLE)
    assert thread_count() >= 1


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", " "])
def test_a_variable_that_is_no_number_from_one_is_refused(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ValueError, match=f"{VARIABLE} must be a whole .* Received: '{text}'"):
        thread_count()
    assert thread_count(1) == 1


@pytest.mark.parametrize("threads", [0, -2, 1.0, True, "2"])
def test_threads_must_be_a_whole_number_from_one(threads):
    with pytest.raises(ValueError, match=f"threads must be a whole .* Received: {threads!r}"):
        thread_count(threads)


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_though_calls_end_in_another(threads):
    def call(number):
        time.sleep(0.002 * (number % 3 == 0))
        return number**2

    assert list(ordered_map(call, range(20), threads)) == [n**2 for n in range(20)]


def test_only_a_few_items_are_taken_ahead():
    taken = []
    results = ordered_map(abs, (taken.append(n) or n for n in range(100)), 2)
    assert next(results) == 0
    assert len(taken) <= 6
    results.close()


def test_an_error_of_a_call_is_raised_where_its_result_is_asked_for():
    def call(number):
        return 1 // (3 - number)

    results = ordered_map(call, range(50), 2)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_linear_algebra_keeps_to_one_thread_until_the_last_pool_is_left():
    np.ones((2, 2)) @ np.ones((2, 2))
    parallel._controller.cache_clear()  # other tests may have loaded further libraries since
    before = blas_threads()
    with tile_threads(2):
        with tile_threads(2) as pool:
            assert set(pool.submit(blas_threads).result()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_an_error_in_a_pool_ends_its_threads_and_the_limit():
    def fail():
        with tile_threads(2) as pool:
            pool.submit(time.sleep, 0.01)
            raise KeyError

    before, alive = blas_threads(), threading.active_count()
    with pytest.raises(KeyError):
        fail()
    assert blas_threads() == before
    assert threading.active_count() == alive
