"""What the stack says when it cannot go on."""

from __future__ import annotations


class StackError(Exception):
    """Something a person has to look at; the command ends with `exit_code`."""

    exit_code = 1


class MissingPart(StackError):
    """The machine lacks something that the stack needs, or the call makes no sense."""

    exit_code = 2
