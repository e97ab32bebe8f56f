"""What all pages share: the templates of this package, and the policy that keeps a page to itself."""

from __future__ import annotations

import base64
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined

from trunkline.metrics.names import NAMES
from trunkline.report.words import FILTERS, printable
from trunkline.wording import in_time


def environment() -> Environment:
    """The templates of this package; what they print is escaped and printable."""
    made = Environment(
        loader=PackageLoader("trunkline.report", "."),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {**FILTERS, "duration": in_time}
    made.globals |= {"names": NAMES}
    return made


def policy(script: str) -> str:
    """The page's content security policy: nothing is fetched, and no script runs but this one, known by its digest."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    scripts = f"'sha256-{digest}'" if script else "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {scripts}; base-uri 'none'; form-action 'none'"
