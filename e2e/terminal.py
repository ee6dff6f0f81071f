"""Runs a program on a terminal and presses Ctrl+C as soon as it has printed a word: terminal.py WORD PROGRAM [ARGUMENT]..."""
import json
import os
import pty
import sys
import time

word, program = sys.argv[1].encode(), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(program[0], program)
text, pressed = b"", None
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:  # EIO: nobody holds the other end any more.
        break
    if not data:
        break
    text += data
    if pressed is None and word in text:
        pressed = time.monotonic()
        os.write(terminal, b"\x03")
ended = time.monotonic()
_, status = os.waitpid(pid, 0)
print(json.dumps({"seconds": ended - pressed if pressed else None, "status": status, "text": text.decode("utf-8", "replace")}))
