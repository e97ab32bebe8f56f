"""S3 in its own words: listings by pages, and an object's bytes and tag in one request.

s3fs's own `find` holds a whole bucket in memory, and its reads ask for the size first. All calls go through the file system's event
loop, from any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trunkline.errors import SourceError
from trunkline.locations import Location, reached

TRIES = 3


@dataclass(frozen=True)
class Page:
    """Up to 1,000 entries of a listing in order of keys: objects, and (with a delimiter) folders, which end in '/'."""

    objects: list[dict[str, Any]]
    folders: list[str]
    is_last: bool


def is_s3(place: Location) -> bool:
    return place.scheme in ("s3", "s3a")


def split(place: Location) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = place.uri.split("://", 1)[1].partition("/")
    return bucket, key


def head(place: Location) -> dict[str, Any]:
    """Size and ETag. Raises FileNotFoundError where there is no such object, StorageError where there is no such bucket."""
    bucket, key = split(place)
    answer = _call(place, "head_object", Bucket=bucket, Key=key)
    return {"size": answer["ContentLength"], "ETag": answer["ETag"]}


def get(place: Location, span: tuple[int, int] | None, most: int) -> tuple[bytes | None, dict[str, Any]]:
    """Bytes, of the whole object or of (offset, size), with the whole object's size and ETag; no bytes where they are more than `most`."""
    from fsspec.asyn import sync

    try:
        with reached(place) as remote:
            found: tuple[bytes | None, dict[str, Any]] = sync(remote.loop, _get, remote, *split(place), span, most)
    except FileNotFoundError as error:
        raise FileNotFoundError(place.uri) from error
    return found


def pages(bucket: Location, prefix: str, *, delimiter: str = "", after: str = "") -> Iterator[Page]:
    """The listing of a bucket below a prefix, page by page, from behind the key `after`.

    Raises
    ------
    SourceError : there is no such bucket, or no permission to list it.
    StorageUnreachable : it does not answer.
    """
    token: dict[str, str] = {"StartAfter": after} if after else {}
    while True:
        said = {"Bucket": split(bucket)[0], "Prefix": prefix} | ({"Delimiter": delimiter} if delimiter else {})
        answer = list_page(bucket, **said, **token)
        found = answer.get("Contents", [])
        folders = [each["Prefix"] for each in answer.get("CommonPrefixes", [])]
        more = bool(answer.get("IsTruncated"))
        yield Page(found, folders, not more)
        if not more:
            return
        token = {"ContinuationToken": answer["NextContinuationToken"]}


def list_page(bucket: Location, **said: Any) -> dict[str, Any]:
    """One answer of ListObjectsV2, with words for a bucket that is not there or not ours."""
    try:
        with reached(bucket) as remote:
            try:
                answer: dict[str, Any] = remote.call_s3("list_objects_v2", **said)
            except PermissionError as error:
                raise SourceError(
                    f"No permission to list {bucket} ({error}). Its images cannot be found without s3:ListBucket; check the "
                    "credentials and the bucket's policy."
                ) from error
    except FileNotFoundError as error:
        raise SourceError(
            f"The source {bucket} does not exist: there is no bucket {said['Bucket']}. Check its name."
        ) from error
    return answer


def _call(place: Location, method: str, **said: Any) -> dict[str, Any]:
    try:
        with reached(place) as remote:
            answer: dict[str, Any] = remote.call_s3(method, **said)
    except FileNotFoundError as error:
        raise FileNotFoundError(place.uri) from error
    return answer


async def _get(
    remote: Any, bucket: str, key: str, span: tuple[int, int] | None, most: int
) -> tuple[bytes | None, dict[str, Any]]:
    ranged = {"Range": f"bytes={span[0]}-{span[0] + max(span[1], 1) - 1}"} if span else {}
    for attempt in range(1, TRIES + 1):
        answer = await remote._call_s3("get_object", Bucket=bucket, Key=key, **ranged)
        whole = int(str(answer.get("ContentRange", "")).rsplit("/", 1)[-1] or answer["ContentLength"])
        info = {"size": whole, "ETag": answer["ETag"]}
        try:
            if answer["ContentLength"] > most:
                return None, info
            return await answer["Body"].read(), info
        except Exception:  # the connection broke while bytes came
            if attempt == TRIES:
                raise
        finally:
            answer["Body"].close()
    raise AssertionError("the last try returns or raises")
