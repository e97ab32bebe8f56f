"""Log records that say what they are about, hold no secrets, and come at a bearable rate."""

from trunkline.logs.context import about, carried, current

__all__ = ["about", "carried", "current"]
