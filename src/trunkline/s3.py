"""`s3://` through s3fs: one request an object, nothing cached, tried again while an answer may yet come.

Statuses 500 to 504, SlowDown, resets and timeouts are tried again by botocore (its standard mode, with backoff and jitter); answers that
break off halfway, and two conditional writes that met, are tried again here. s3fs's own retries are off: they would multiply botocore's.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiobotocore.response import AioReadTimeoutError
from aiohttp import ClientPayloadError
from botocore.exceptions import IncompleteReadError, ResponseStreamingError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from trunkline.errors import StorageError

ATTEMPTS = 8  # of a request; AWS_MAX_ATTEMPTS says otherwise
BROKEN_OFF_ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 0.1
CONNECT_SECONDS = 10
READ_SECONDS = 30
ONE_REQUEST = 5 * 2**30 // 2  # s3fs sends less than twice this in one request, as S3 allows; parts would be two or more
CREATOR = "trunkline-creator"  # in an object's metadata: which call of `create` made it
CONFLICTS = {"ConditionalRequestConflict", "OperationAborted"}
BROKEN_OFF = (ClientPayloadError, ResponseStreamingError, IncompleteReadError, AioReadTimeoutError, ResponseParserError)

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class ObjectStorage(S3FileSystem):  # type: ignore[misc]
    """s3fs with exclusive creates that survive a lost answer."""

    cachable = False
    retries = 1

    @classmethod
    def opened(cls, asynchronous: bool) -> ObjectStorage:
        """With credentials and endpoint by the usual chain: environment, `~/.aws`, fsspec's configuration."""
        retries: dict[str, Any] = {"mode": "standard"}
        if "AWS_MAX_ATTEMPTS" not in os.environ:
            retries["total_max_attempts"] = ATTEMPTS
        given = _configured()
        config = {"retries": retries, "connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS} | given.pop(
            "config_kwargs", {}
        )
        # more than one would ask for the size before each read
        options = {"max_concurrency": 1} | given | {"config_kwargs": config, "use_listings_cache": False}
        return cls(asynchronous=asynchronous, **options)

    async def set_session(self, refresh: bool = False, kwargs: Any = None) -> Any:  # noqa: ARG002
        """s3fs closes the connections of its own event loop at the end, and those of Zarr's are closed here."""
        before = self._s3
        client = await super().set_session(refresh)
        if self.asynchronous and client is not before:
            atexit.register(self.close_session, asyncio.get_running_loop(), self._s3creator)
        return client

    async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
        call = super()._call_s3
        try:
            return await _tried_again(lambda: call(method, *args, **kwargs))
        except FileNotFoundError as error:
            if _code(error) != "NoSuchBucket":
                raise
            raise StorageError(
                f"There is no bucket {kwargs.get('Bucket')!r} here. Check its name and the endpoint, or create it."
            ) from error

    async def _cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        read = super()._cat_file
        content: bytes = await _tried_again(lambda: read(path, *args, **kwargs))
        return content

    async def _get_file(self, rpath: str, lpath: str, *args: Any, **kwargs: Any) -> None:
        get = super()._get_file
        await _tried_again(lambda: get(rpath, lpath, *args, **kwargs))

    async def _pipe_file(
        self, path: str, data: bytes, chunksize: int = ONE_REQUEST, mode: str = "overwrite", **kwargs: Any
    ) -> Any:
        """One request; with `mode="create"` FileExistsError where another call made the object, however many answers were lost."""
        put = super()._pipe_file
        if mode != "create":
            return await put(path, data, chunksize=chunksize, **kwargs)
        mine = secrets.token_hex(16)
        try:
            return await put(path, data, chunksize=chunksize, mode=mode, Metadata={CREATOR: mine}, **kwargs)
        except OSError as error:
            if _code(error) not in ("PreconditionFailed", "412"):
                raise
            bucket, key, _ = self.split_path(path)
            try:
                there = await self._call_s3("head_object", Bucket=bucket, Key=key)
            except FileNotFoundError:
                there = {}
            if there.get("Metadata", {}).get(CREATOR) != mine:
                raise FileExistsError(f"{path} is there already.") from error
            return there

    async def _exists(self, path: str) -> bool:
        """Of a bucket too an answer that does not come is an error, and no 'no'."""
        bucket, key, _ = self.split_path(path)
        if key:
            return bool(await super()._exists(path))
        try:
            await self._call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            return False
        return True

    exists = sync_wrapper(_exists)  # s3fs's own would not see the one above


async def _tried_again(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Call, and again with growing random pauses while the answer breaks off or conditional writes meet."""
    for attempt in range(BROKEN_OFF_ATTEMPTS):
        try:
            return await call()
        except BROKEN_OFF:
            if attempt == BROKEN_OFF_ATTEMPTS - 1:
                raise
            log.info("An answer of S3 broke off; asking again")
        except OSError as error:
            if attempt == BROKEN_OFF_ATTEMPTS - 1 or _code(error) not in CONFLICTS:
                raise
            log.info("Conditional writes met on S3 (%s); writing again", _code(error))
        await asyncio.sleep(random.uniform(0.5, 1) * FIRST_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("unreachable")


def _code(error: BaseException) -> str:
    """S3's own word for an error, which s3fs keeps as its cause; '' where there is none."""
    said = getattr(error.__cause__, "response", None) or {}
    return str(said.get("Error", {}).get("Code", ""))


def _configured() -> dict[str, Any]:
    """What fsspec's configuration says of S3."""
    from fsspec.config import conf

    return {name: value for scheme in ("s3", "s3a") for name, value in conf.get(scheme, {}).items()}
