"""A certificate authority of our own, and what it signed: made by openssl, for one test session."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from trunkline.specs import TlsSpec


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the authority's certificate, one for everybody on 127.0.0.1, and its key."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def spec(self) -> TlsSpec:
        return TlsSpec(ca=str(self.ca), certificate=str(self.certificate), key=str(self.key))

    def options(self) -> list[str]:
        """Of `dask scheduler` and `dask worker`."""
        return ["--tls-ca-file", str(self.ca), "--tls-cert", str(self.certificate), "--tls-key", str(self.key)]


def made(folder: Path) -> Certificates:
    """A new authority, and a certificate that it signed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    authority, request, names = folder / "ca-key.pem", folder / "request.pem", folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    _openssl(*new, "/CN=trunkline test authority", "-x509", "-days", "2", "-keyout", str(authority), "-out", str(made.ca))
    _openssl(*new, "/CN=127.0.0.1", "-keyout", str(made.key), "-out", str(request))
    signing = ["x509", "-req", "-days", "2", "-in", str(request), "-CA", str(made.ca), "-CAkey", str(authority)]
    _openssl(*signing, "-CAcreateserial", "-extfile", str(names), "-out", str(made.certificate))
    return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
