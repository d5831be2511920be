"""Ids say when they were made, and sort by it."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from runtime.ids import new_id


def test_ids_sort_in_the_order_in_which_they_were_made_however_fast() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {uuid.RFC_4122}


def test_an_id_holds_the_milliseconds_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id().int >> 80
    assert before <= made <= time.time_ns() // 1_000_000 + 1_000  # ahead where very many were made at once


def test_threads_make_no_id_twice() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [each for part in threads.map(lambda _: [new_id() for _ in range(2000)], range(8)) for each in part]
    assert len(set(made)) == len(made)
