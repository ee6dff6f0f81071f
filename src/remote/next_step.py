"""What an instance of a fleet is to do with its run, by what the store says of it."""

# An attempt that was not heard of for so long is over, seconds by S3's clock.
SILENCE = 60

START, GO_ON, WAIT, CANCEL, FINISH, LEAVE = "start", "go on", "wait", "cancel", "finish", "leave"
# Why the machine, and not the run, came to its end.
TAKEN = ("interruption", "shutdown")


def next_step(record, age, interrupted, stopped):
    """One of the steps, where no process of the run's is at work here.

    record       the run's, or None; `age` in seconds
    interrupted  EC2 takes this instance back: the next one goes on
    stopped      a client does not want it to go on"""
    if record is not None and not may_go_on(record):
        return FINISH
    if record is not None and record["state"] != "ended" and age < SILENCE:
        return LEAVE if interrupted else WAIT
    if stopped:
        return CANCEL
    if interrupted:
        return LEAVE
    return START if record is None else GO_ON


def may_go_on(record):
    """Whether it has not ended, or not by itself."""
    if record["state"] != "ended" or record["outcome"] == "lost":
        return True
    return record["outcome"] == "interrupted" and (record["stop"] or {}).get("reason") in TAKEN
