"""What all specs share: frozen, digested, and a key they do not know is an error."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from trunkline.specs.form import Form

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]


class Spec(Form):
    """Base of all specs: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 16 hex digits. Optional fields at their default do not enter, so new ones change nothing."""
        required = {name for name, field in type(self).model_fields.items() if field.is_required()}
        said = self.model_dump(mode="json", exclude_defaults=True)
        said |= {name: value for name, value in self.model_dump(mode="json").items() if name in required}
        return digest_of(said)


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form, first 16 hex digits."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
