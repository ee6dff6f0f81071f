"""Locks that live as long as the process that holds them."""
import fcntl
import os


def held(path):
    """Whether some living process holds the flock on a file; false where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)
