"""Run, dataset and shard of a record, in one process and with a function that is carried elsewhere."""

from __future__ import annotations

import pickle
import threading

from trunkline.logs import about, carried, current
from trunkline.shards import Shard


def seen(job: str, item: object) -> tuple[str, object, dict[str, str]]:
    return job, item, current()


def test_what_is_known_nests_and_ends() -> None:
    with about(run="r1", dataset="photos"):
        with about(shard="000000000064"):
            assert current() == {"run": "r1", "dataset": "photos", "shard": "000000000064"}
        assert current() == {"run": "r1", "dataset": "photos"}
    assert current() == {}


def test_a_carried_function_knows_what_was_known_where_it_was_sent_from() -> None:
    with about(run="r1", dataset="photos"):
        sent = pickle.dumps(carried(seen))
    answers: list[tuple[str, object, dict[str, str]]] = []
    thread = threading.Thread(target=lambda: answers.append(pickle.loads(sent)("job", Shard(64, 128))))
    thread.start()
    thread.join()
    assert answers == [("job", Shard(64, 128), {"run": "r1", "dataset": "photos", "shard": "000000000064"})]


def test_items_that_are_no_shards_say_nothing_of_one() -> None:
    with about(run="r1"):
        assert carried(seen)("job", 3) == ("job", 3, {"run": "r1"})


def test_a_carried_function_keeps_its_name_which_dask_shows() -> None:
    from dask.utils import funcname

    assert funcname(carried(seen)) == "seen"
