"""Stands in for ssh: python3 remote-shell.py PORT HOST PROGRAM ARGUMENT …

The other end of the port runs the program; its standard input and output are those of this process.
"""
import json
import os
import socket
import sys
import threading

SIZE = 1 << 16
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
server.sendall(json.dumps(sys.argv[3:]).encode() + b"\n")


def send():
    while True:
        data = os.read(0, SIZE)
        if not data:
            return server.shutdown(socket.SHUT_WR)
        server.sendall(data)


threading.Thread(target=send, daemon=True).start()
while True:
    data = server.recv(SIZE)
    if not data:
        break
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
