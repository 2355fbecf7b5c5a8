"""The one error type that reaches the user as a line of text."""


class VmError(Exception):
    """What went wrong, where, and what to do about it; one line unless a log's tail is shown."""
