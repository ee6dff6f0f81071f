"""Why a run is stopped, and how it ends then: docs/FORMAT.md, "Run state"."""
import os

from . import files

OUTCOMES = {
    "cancelled": "cancelled", "timeout": "timed-out", "shutdown": "interrupted",
    # The keeper's.
    "lifetime": "interrupted", "cost": "interrupted", "deadline": "interrupted", "hung": "interrupted",
    # The spot notice; and another instance that has gone on with the run meanwhile.
    "interruption": "interrupted", "superseded": "interrupted",
}


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
