"""Runs a program on a terminal and presses Ctrl+C as soon as a line ends with a word, and so many times in all, a second apart: terminal.py WORD TIMES PROGRAM [ARGUMENT]..."""
import json
import os
import pty
import re
import select
import sys
import time

word, times, program = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(program[0], program)
text, pressed, presses = b"", None, 0
while True:
    if (presses == 0 and re.search(re.escape(word) + rb"\r?\n", text)) or (0 < presses < times and time.monotonic() > pressed + 1.0 * presses):
        pressed, presses = pressed or time.monotonic(), presses + 1
        os.write(terminal, b"\x03")
    if not select.select([terminal], [], [], 0.05)[0]:
        continue
    try:
        data = os.read(terminal, 65536)
    except OSError:  # EIO: nobody holds the other end any more.
        break
    if not data:
        break
    text += data
ended = time.monotonic()
_, status = os.waitpid(pid, 0)
print(json.dumps({"seconds": ended - pressed if pressed else None, "status": status, "text": text.decode("utf-8", "replace")}))
