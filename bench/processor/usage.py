"""Runs a program and writes what it took as JSON: python3 usage.py FILE PROGRAM ARGUMENT …

The times are user and system time of the process and of all descendants that were waited for, as wait4 has them. SIGTERM kills the program.
"""
import json
import os
import signal
import sys
import time

report, argv = sys.argv[1], sys.argv[2:]
began = time.time()
pid = os.posix_spawnp(argv[0], argv, os.environ)
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
_, status, usage = os.wait4(pid, 0)
ended = time.time()
# ru_maxrss is in KiB, on macOS in bytes.
memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
with open(report, "w") as file:
    json.dump({"begun": began * 1000, "ended": ended * 1000, "processor": (usage.ru_utime + usage.ru_stime) * 1000, "clientMemory": memory}, file)
sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
