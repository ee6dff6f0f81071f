"""Runs a program on a terminal and prints what it writes there, a JSON line each time.

record-terminal.py COLUMNS ROWS PROGRAM [ARGUMENT]...
"""

import fcntl
import json
import os
import pty
import struct
import sys
import termios
import time

columns, rows, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
start = time.monotonic()
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.execvp(program[0], program)
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:  # EIO: the program and its children have closed the terminal.
        break
    if not data:
        break
    print(
        json.dumps({"ms": round((time.monotonic() - start) * 1000), "bytes": data.hex()}),
        flush=True,
    )
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
