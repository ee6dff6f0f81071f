"""Runs a command on a terminal of its own, as "uid:gid" or, for "-", as who runs this: input from standard input, output to standard output, "columns rows" lines from descriptor 3."""
import fcntl
import os
import pty
import select
import struct
import sys
import termios

try:
    # As the agent's worker is called, to which a session is a process each.
    with open("/proc/self/comm", "w") as file:
        file.write("ssm-session-worker"[:15])
except OSError:
    pass
pid, terminal = pty.fork()
if pid == 0:
    os.close(3)
    try:
        if sys.argv[1] != "-":
            uid, gid = map(int, sys.argv[1].split(":"))
            os.fchown(0, uid, -1)
            os.setgroups([gid])
            os.setgid(gid)
            os.setuid(uid)
        # By its path: another user may not read what Python would look it up with.
        os.execv(sys.argv[2], [os.path.basename(sys.argv[2])] + sys.argv[3:])
    finally:
        os._exit(127)
sizes = b""
# A size that was sent before some input holds for it.
sources = [terminal, 3, 0]
while terminal in sources:
    for source in select.select(sources, [], [])[0]:
        try:
            data = os.read(source, 65536)
        except OSError:  # EIO: nobody holds the other end any more.
            data = b""
        if not data:
            sources.remove(source)
        elif source == terminal:
            while data:
                data = data[os.write(1, data):]
        elif source == 0:
            while data:
                data = data[os.write(terminal, data):]
        else:
            *lines, sizes = (sizes + data).split(b"\n")
            for line in lines:
                columns, rows = map(int, line.split())
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
os.close(terminal)
status = os.waitpid(pid, 0)[1]
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
