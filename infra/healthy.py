"""`python -m infra.healthy URL`: whether a service answers. Containers and `make stack` ask this; it needs no curl in the image."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

PATIENCE_SECONDS = 5


def healthy(url: str) -> bool:
    """Whether something answers at this URL with a status below 400 within a few seconds, no proxy in between."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=PATIENCE_SECONDS):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy(sys.argv[1]) else 1)
