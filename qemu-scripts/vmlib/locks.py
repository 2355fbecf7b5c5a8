"""Advisory file locks between `vm` commands that run at the same time."""

import fcntl
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path):
    """Holds the lock file at `path` exclusively; waits for it. The kernel drops it when we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
