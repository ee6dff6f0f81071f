"""Asking a run to stop. What comes of the reasons: `verdict.STOPPED`."""
import os

from . import files


def ask(home, reason, grace):
    """Asks a run's supervisor to stop it, within `grace` seconds; whether nobody had before, in which case theirs holds."""
    path = os.path.join(home, "stop.json")
    beside = "%s.%s" % (path, reason)
    files.write_json(beside, {"reason": reason, "grace": grace})
    try:
        os.link(beside, path)
        return True
    except FileExistsError:
        return False
    finally:
        os.unlink(beside)
