"""How much work a call is, told without a clock: a busy machine changes nothing."""

import sys


def steps(call):
    """How many lines of Python a call runs, in all functions that it calls in this thread."""
    count = [0]

    def trace(_frame, event, _argument):
        count[0] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count[0]
