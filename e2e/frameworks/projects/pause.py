"""Part of each project: keeps a training at a step for as long as its test needs, and does nothing elsewhere."""
import os
import time


def pause(step):
    if os.environ.get("PAUSE_AT") == str(step) and os.environ.get("NX_EC2_ATTEMPT") == "1":
        time.sleep(600)
