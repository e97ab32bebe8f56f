"""URLs that carry a password or a signature: everything a source says is written into the store, so they are refused."""

from __future__ import annotations

import re

from trunkline.errors import SourceError

_PASSWORD = re.compile(r"^[^/?#]*://(?:[^/@?#]*:[^/@]*@)")
_USER = re.compile(r"^(?:https?|ftps?|sftp|webdavs?)://[^/?#]*@", re.IGNORECASE)
_SIGNATURE = re.compile(
    r"[?&;](?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|awsaccesskeyid|key-pair-id|signature|sig|"
    r"token|access_token|auth|apikey|api_key|key|password)=",
    re.IGNORECASE,
)


def has_secret(uri: str) -> bool:
    """Whether a URL holds a user's name and password, a token or a signature."""
    if "://" not in uri:
        return False
    return bool(_PASSWORD.search(uri) or _USER.search(uri) or _SIGNATURE.search(uri))


def without_secret(uri: str) -> str:
    """The URL as it may be shown: neither user nor query."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    return f"{scheme}://{re.split('[?;]', rest)[0].rsplit('@', 1)[-1]}"


def refuse_secret(uri: str, where: str) -> None:
    """Raise SourceError where a URL holds one; the message does not."""
    if has_secret(uri):
        raise SourceError(
            f"{where} is a URL with a password or signature in it ({without_secret(uri)}), which would be written into the store and would "
            "expire. Give the plain URL, and credentials by the environment or fsspec's configuration."
        )
