"""The certificate files of an encrypted scheduler, looked at before anything is tried with them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from trunkline.errors import SpecError
from trunkline.specs import TlsSpec

ENCRYPTED = ("tls://", "wss://")


def refuse_unusable_files(address: str, tls: TlsSpec) -> None:
    """Raises SpecError for files that are not there, cannot be read, or do not go with the address."""
    if tls.files and not address.startswith(ENCRYPTED):
        raise SpecError(
            f"cluster.tls names certificate files, and cluster.address {address} is not encrypted: write tls:// in front of host and port, "
            "or leave the files out."
        )
    for name, path in tls.files.items():
        try:
            with Path(path).expanduser().open("rb") as file:
                file.read(1)
        except OSError as error:
            raise SpecError(
                f"cluster.tls.{name} is {path!r}, which cannot be read ({error.strerror}), so {address} cannot be reached. It is a path of "
                "the machine that starts the run."
            ) from error


def security_of(address: str, tls: TlsSpec) -> Any:
    """A Dask `Security`, from the spec's files, else from Dask's own configuration; None for an address without encryption.

    Raises
    ------
    SpecError : no files are named anywhere, or they hold no certificate, or the key is another certificate's.
    """
    if not address.startswith(ENCRYPTED):
        return None
    from distributed.security import Security

    refuse_unusable_files(address, tls)
    paths = {name: str(Path(path).expanduser()) for name, path in tls.files.items()}
    given = {
        "tls_ca_file": paths.get("ca"),
        "tls_client_cert": paths.get("certificate"),
        "tls_client_key": paths.get("key"),
    }
    try:
        security = Security(require_encryption=True, **{name: path for name, path in given.items() if path})
        usable = security.get_connection_args("client")["ssl_context"] is not None
    except (ssl.SSLError, OSError) as error:
        raise SpecError(
            f"The certificate files for {address} cannot be used ({error}): cluster.tls wants PEM files, the authority's certificate, this "
            "side's certificate, and the private key that belongs to it."
        ) from error
    if not usable:
        raise SpecError(
            f"cluster.address is {address}, and no certificate is named: give cluster.tls.ca, .certificate and .key (--tls-ca, "
            "--tls-certificate, --tls-key), or set Dask's own distributed.comm.tls."
        )
    return security
