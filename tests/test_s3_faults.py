"""S3 that answers with errors, loses answers, breaks off: a location gives what is there, or says in words that it cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from tests.faults import KINDS, FaultyEndpoint
from tests.s3 import ACCESS_KEY, SECRET, free_port
from tests.store.examples import commit
from trunkline.errors import CorruptStore, StorageError, StorageUnreachable, StoreError
from trunkline.locations import Location, filesystem, without_secrets
from trunkline.s3 import ATTEMPTS, BROKEN_OFF_ATTEMPTS
from trunkline.shards import Shard
from trunkline.store.arrays import open_arrays
from trunkline.store.commits import Commits
from trunkline.store.feature_store import FeatureStore
from trunkline.store.layout import ArrayLayout
from trunkline.tables import footer_of, open_parquet, parquet_bytes

Faulty = Callable[..., FaultyEndpoint]
RACERS = 8
USES: dict[str, Callable[[Location], object]] = {
    "read": lambda place: place.read(),
    "write": lambda place: place.write(b"x"),
    "create": lambda place: (place / "new").create(b"x"),
    "exists": lambda place: place.exists(),
    "names": lambda place: place.names(),
    "size": lambda place: place.size(),
    "remove": lambda place: place.remove(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_use_survives_faults(kind: str, bucket: Location, faulty: Faulty):
    """Each second request fails."""
    endpoint = faulty(rate=0.5, kinds=(kind,), seed=1)
    for number in range(2):
        place = bucket / f"folder/{number}"
        place.create(b"first" * 1000)
        with pytest.raises(FileExistsError):
            place.create(b"second")
        assert place.read() == b"first" * 1000
        place.write(b"third")
        assert (place.exists(), (bucket / "nothing").exists(), place.size()) == (True, False, 5)
        assert (bucket / "folder").names() == [str(number)]
        with pytest.raises(FileNotFoundError):
            (bucket / "nothing").read()
        place.remove()
        assert not place.exists()
    assert endpoint.done[kind] > 5


@pytest.mark.parametrize("kind", ["reset-after", "truncated"])
def test_a_create_whose_answer_was_lost_is_no_lost_race(kind: str, bucket: Location, faulty: Faulty):
    endpoint = faulty()
    for lost in (1, 3):
        endpoint.fail(kind, "PUT", times=lost)
        (bucket / f"lease-{lost}").create(b"mine")
        assert (bucket / f"lease-{lost}").read() == b"mine"
    assert (endpoint.done[kind], endpoint.requests("PUT")) == (4, 6)


def test_a_create_that_lost_its_race_and_its_answers_is_a_lost_race_though_the_content_is_equal(
    bucket: Location, faulty: Faulty
):
    (bucket / "store.json").create(b"the same")
    faulty().fail("reset-after", "PUT", times=3)
    with pytest.raises(FileExistsError, match=r"store\.json is there already"):
        (bucket / "store.json").create(b"the same")


def test_of_many_threads_one_creates_though_answers_are_lost(bucket: Location, faulty: Faulty):
    endpoint = faulty(rate=0.4, kinds=("reset-after", "reset", "500"), seed=5)

    def race(place: Location, barrier: threading.Barrier, number: int) -> bool:
        barrier.wait()
        try:
            place.create(str(number).encode())
        except FileExistsError:
            return False
        return True

    for turn in range(5):
        place, barrier = bucket / str(turn), threading.Barrier(RACERS)
        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(lambda number: race(place, barrier, number), range(RACERS)))  # noqa: B023
        assert won.count(True) == 1
        assert place.read() == str(won.index(True)).encode()
    assert endpoint.done["reset-after"] > 5


def test_two_conditional_writes_that_meet_are_tried_again(bucket: Location, faulty: Faulty):
    endpoint = faulty()
    endpoint.fail("409", "PUT", times=2)
    (bucket / "x").create(b"x")
    assert endpoint.requests("PUT") == 3
    endpoint.fail("409", "PUT", times=1000)
    with pytest.raises(StorageUnreachable, match=r"/y cannot be reached \(OSError: .*conflicting operation"):
        (bucket / "y").create(b"y")
    assert endpoint.requests("PUT") == 3 + BROKEN_OFF_ATTEMPTS


@pytest.mark.slow
def test_large_objects_are_created_exclusively_and_in_one_request(bucket: Location, faulty: Faulty):
    """s3fs would cut more than 100 MiB into parts, which no lost answer could be told from."""
    endpoint = faulty()
    endpoint.fail("reset-after", "PUT")
    large = bytes(101 * 2**20)
    (bucket / "large").create(large)
    with pytest.raises(FileExistsError):
        (bucket / "large").create(large)
    assert (endpoint.requests("PUT"), endpoint.requests("POST")) == (3, 0)
    assert (bucket / "large").size() == len(large)


def test_an_endpoint_that_always_fails_is_said_in_words_after_a_few_attempts(bucket: Location, faulty: Faulty):
    endpoint = faulty(rate=1.0, kinds=("500",))
    words = r"cannot be reached .*start the same command again; what was committed is kept"
    for number, (name, use) in enumerate(USES.items(), 1):
        with pytest.raises(StorageUnreachable, match=words):
            use(bucket / "x")
        assert endpoint.done["500"] == number * ATTEMPTS, name


@pytest.mark.usefixtures("s3", "no_pauses")
def test_an_endpoint_that_is_not_there_is_said_in_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    for use in USES.values():
        with pytest.raises(StorageUnreachable, match=r"s3://bucket/.* cannot be reached \(EndpointConnectionError: Could not"):
            use(Location.of("s3://bucket/x"))


@pytest.mark.usefixtures("s3", "no_pauses")
def test_a_password_in_the_endpoint_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://reader:{SECRET}@127.0.0.1:{free_port()}")
    with pytest.raises(StorageUnreachable, match=r"s3://bucket/x cannot be reached") as refused:
        Location.of("s3://bucket/x").read()
    assert SECRET not in str(refused.value)


def test_the_environment_says_how_often_to_try(bucket: Location, faulty: Faulty, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    endpoint = faulty(rate=1.0, kinds=("503",))
    with pytest.raises(StorageUnreachable, match=r"reduce your request rate"):
        (bucket / "x").read()
    assert endpoint.requests("GET") == 2


def test_refused_credentials_are_said_in_words(bucket: Location, faulty: Faulty):
    endpoint = faulty(rate=1.0, kinds=("403",))
    for number, (name, use) in enumerate(USES.items(), 1):
        with pytest.raises(
            StorageError, match=r"is refused \(PermissionError: .*\)\. Check the credentials, and that they"
        ) as refused:
            use(bucket / "x")
        assert not isinstance(refused.value, StorageUnreachable)
        assert ACCESS_KEY not in str(refused.value)
        assert endpoint.done["403"] == number, f"{name} asked again, which does not help"


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_said_in_words():
    for use in USES.values():
        with pytest.raises(StorageError, match=r"There is no bucket 'trunkline-nosuch' here\. Check its name and the endpoint"):
            use(Location.of("s3://trunkline-nosuch/x"))


def test_only_a_missing_bucket_itself_does_not_exist(bucket: Location, faulty: Faulty):
    assert bucket.exists()
    assert not Location.of("s3://trunkline-nosuch").exists()
    faulty(rate=1.0, kinds=("500",))
    with pytest.raises(StorageUnreachable, match="cannot be reached"):
        bucket.exists()


def test_storage_that_cannot_create_exclusively_is_refused(bucket: Location, faulty: Faulty):
    endpoint = faulty(conditions=False)
    with pytest.raises(
        StorageError, match=r"cannot create objects exclusively \(it ignores If-None-Match\), so two runs could"
    ):
        FeatureStore.create(bucket / "store")
    assert bucket.names() == []
    endpoint.conditions = True
    FeatureStore.create(bucket / "other")
    assert (bucket / "other").names() == ["store.json"]
    (bucket / "again").refuse_unless_exclusive()
    before = len(endpoint.asked)
    (bucket / "again").refuse_unless_exclusive()
    assert len(endpoint.asked) == before  # once a process and place


def test_what_another_process_writes_is_seen(bucket: Location, s3: str):
    """Another file system stands for another process: it shares nothing with ours."""
    import s3fs

    other = s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True)
    folder = bucket / "folder"
    assert (folder.exists(), folder.names(), folder.size()) == (False, [], 0)
    for number in range(3):
        other.pipe_file(f"{folder.uri}/{number}", b"x" * (number + 1))
        assert (folder / str(number)).exists()
        assert (folder.exists(), folder.names()) == (True, [str(each) for each in range(number + 1)])
    assert folder.size() == 6
    other.pipe_file(f"{folder.uri}/0", b"longer")
    assert ((folder / "0").read(), (folder / "0").size()) == (b"longer", 6)
    other.rm_file(f"{folder.uri}/0")
    assert (folder.names(), (folder / "0").exists()) == (["1", "2"], False)


def test_a_read_is_one_request(bucket: Location, faulty: Faulty):
    (bucket / "x").write(b"x")
    endpoint = faulty()
    assert (bucket / "x").read() == b"x"
    assert [method for method, _ in endpoint.asked] == ["GET"]


def test_a_broken_off_download_to_a_file_starts_again(bucket: Location, faulty: Faulty, tmp_path: Path):
    (bucket / "weights").write(b"w" * 500_000)
    endpoint = faulty()
    endpoint.fail("truncated", "GET", times=2)
    filesystem("s3").get_file((bucket / "weights").uri, str(tmp_path / "weights"))
    assert (tmp_path / "weights").read_bytes() == b"w" * 500_000
    assert endpoint.done["truncated"] == 2


def test_credentials_go_out_of_messages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token1")
    said = without_secrets("http://me:pw@host:1/b?X=AKIA1 with hush and token1, https://host/a@b")
    assert said == "http://host:1/b?X=*** with *** and ***, https://host/a@b"


def test_fsspec_configuration_says_where_s3_is(bucket: Location, s3: str, monkeypatch: pytest.MonkeyPatch):
    from fsspec.config import conf

    (bucket / "x").write(b"x")
    monkeypatch.setitem(conf, "s3", {"endpoint_url": s3, "key": ACCESS_KEY, "secret": SECRET})
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert (bucket / "x").read() == b"x"


def test_hdf5_on_s3_is_refused(bucket: Location):
    with pytest.raises(StoreError, match=r"HDF5 cannot be written to s3:// .*Use --format zarr there"):
        open_arrays(bucket / "set", ArrayLayout("hdf5", 64, {"late": 5}))


def test_a_truncated_commit_record_is_refused(bucket: Location):
    commits = Commits(bucket / "commits", bucket / "sealed")
    commits.create(commit(Shard(0, 64)))
    place = bucket / "commits/000000000000.parquet"
    place.write(place.read()[:-100])
    with pytest.raises(CorruptStore, match=r"000000000000\.parquet cannot be read as Parquet .*Restore it from a backup, or"):
        commits.read("000000000000")


def test_a_table_in_pieces_is_whole_though_answers_break_off(bucket: Location, faulty: Faulty):
    table = pa.table({"row": list(range(200_000)), "text": [f"{number:032x}" for number in range(200_000)]})
    (bucket / "table.parquet").write(parquet_bytes(table, 1024))
    endpoint = faulty(rate=0.2, kinds=["truncated", "reset", "500"], seed=5)
    for _ in range(5):
        with open_parquet(bucket / "table.parquet", footer_of(bucket / "table.parquet"), in_pieces=True) as file:
            assert file.read_row_groups([0, 7, 190]).equals(
                pa.concat_tables([table.slice(at * 1024, 1024) for at in (0, 7, 190)])
            )
            assert file.read().equals(table)
    assert endpoint.done["truncated"] > 1
