"""A little writer of docs/reference/formats.md, independent of the runtime, and a server of what it
wrote.
"""

import base64
import hashlib
import http.server
import json
import os
import struct
import threading
import zlib

ONE_CHUNK = 1 << 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Executable(bytes):
    pass


class Link(bytes):
    pass


DIRECTORY = None


def record(path, content):
    if content is DIRECTORY:
        return b"d " + path + b"\0"
    if isinstance(content, Link):
        return b"l " + path + b"\0" + bytes(content) + b"\0"
    return b"f %s %d %s %s\0" % (
        b"x" if isinstance(content, Executable) else b"-",
        len(content),
        sha256(content).encode(),
        path,
    )


def canonical(files):
    return b"nx-ec2 snapshot 1\0" + b"".join(record(path, files[path]) for path in sorted(files))


def snapshot_id(files):
    return sha256(canonical(files))


def delta(old, new):
    changed = [
        path
        for path in sorted(new)
        if path not in old or record(path, old[path]) != record(path, new[path])
    ]
    return {
        "deleted": [path.decode() for path in sorted(old) if path not in new],
        "entries": b"".join(record(path, new[path]) for path in changed).decode(),
    }


def contents(files):
    return {
        sha256(content): bytes(content)
        for content in files.values()
        if content is not DIRECTORY and not isinstance(content, Link)
    }


def cut(content, size=100000):
    """A recipe's pieces; the runtime does not care where a content was cut."""
    return [content[at : at + size] for at in range(0, len(content), size)]


def recipe(content, size=100000):
    return recipe_of((sha256(piece), len(piece)) for piece in cut(content, size))


def recipe_of(chunks):
    """As a manifest has it."""
    return base64.b64encode(
        b"".join(struct.pack(">32sI", bytes.fromhex(name), size) for name, size in chunks)
    ).decode()


def pack(chunks, segment=200000, change=None):
    """The bytes of a pack of chunks; every second segment is raw. `change` may edit the directory."""
    segments, body, group = [], b"", []

    def close():
        nonlocal body, group
        raw = b"".join(group)
        kind = "zr"[len(segments) % 2]
        stored = zlib.compress(raw) if kind == "z" else raw
        segments.append([
            len(body),
            len(stored),
            kind,
            [[sha256(chunk), len(chunk)] for chunk in group],
        ])
        body += stored
        group = []

    for chunk in chunks:
        if group and sum(map(len, group)) + len(chunk) > segment:
            close()
        group.append(chunk)
    close()
    directory = {"v": 1, "segments": segments}
    if change:
        change(directory)
    packed = zlib.compress(json.dumps(directory).encode())
    return body + packed + struct.pack(">I4s", len(packed), b"NXP1")


def chunks_of(files):
    """(chunks, recipes) of everything that files hold."""
    chunks, recipes = {}, {}
    for name, content in contents(files).items():
        if len(content) > ONE_CHUNK:
            recipes[name] = recipe(content)
            chunks.update((sha256(piece), piece) for piece in cut(content))
        elif content:
            chunks[name] = content
    return chunks, recipes


class Store:
    def __init__(self, ranges=True):
        self.objects, self.asked, self.ranges = {}, [], ranges
        self.lock = threading.Lock()
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self):
                data, wanted, status = store.objects.get(self.path), self.headers.get("Range"), 200
                with store.lock:
                    store.asked.append((self.path, wanted))
                if callable(data):
                    data = data()
                if data is None:
                    data, status = b"<Error><Code>NoSuchKey</Code></Error>", 404
                elif isinstance(data, int):
                    data, status = b"<Error/>", data
                elif wanted and store.ranges:
                    first, last = wanted[6:].split("-")
                    data, status = (
                        (data[int(first) : int(last) + 1] if first else data[-int(last) :]),
                        206,
                    )
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def url(self, key):
        return "http://127.0.0.1:%d%s" % (self.server.server_address[1], key)

    def put_pack(self, data, spare=False, name=None):
        name = name or sha256(data)
        self.objects["/p/" + name] = data
        url = self.url("/p/" + name)
        return {"sha256": name, "size": len(data), "url": url, "spare": spare, "wait": 0}

    def put_packs(self, files, spare=False, per_pack=40, known=()):
        """(packs, recipes of a plan) that hold what files hold, but for known chunks."""
        chunks, recipes = chunks_of(files)
        needed = [data for name, data in sorted(chunks.items()) if name not in known]
        return [
            self.put_pack(pack(needed[at : at + per_pack]), spare)
            for at in range(0, len(needed), per_pack)
        ], {name: [text] for name, text in recipes.items()}

    def put_manifest(self, files, base=None, recipes=None, packs=(), inline=None, change=None):
        """A plan's entry of history. `base` are the files of the manifest that it builds on."""
        value = {
            "v": 2,
            "snapshot": snapshot_id(files),
            "recipes": {name: text for name, (text,) in (recipes or {}).items()},
            "packs": [[pack["sha256"], pack["size"]] for pack in packs],
            "inline": inline or {},
        }
        value.update(
            {"base": None, "canonical": canonical(files).decode()}
            if base is None
            else dict(delta(base, files), base=snapshot_id(base))
        )
        if change:
            change(value)
        key = "/m/" + value["snapshot"]
        self.objects[key] = zlib.compress(json.dumps(value).encode())
        return {"snapshot": snapshot_id(files), "url": self.url(key)}


def plan(files, base=None, base_id=None, **part):
    """A plan: the whole snapshot, or with `base`, what turns those files into it."""
    sync = {
        "snapshot": snapshot_id(files),
        "base": base_id if base is None else snapshot_id(base),
        "canonical": canonical(files).decode() if base is None else None,
        "delta": None if base is None or base == files else delta(base, files),
        "history": [],
        "recipes": {},
        "packs": [],
        "inline": {},
        "archive": None,
        "limits": {"entries": 100000, "bytes": 1 << 40},
        "force": False,
    }
    sync.update(part)
    return {"v": 1, "op": "sync", "tree": "t", "user": None, "sync": sync}


def inline(files):
    return {name: packed(content) for name, content in contents(files).items()}


def read_tree(root, tree="t"):
    base = os.fsencode(os.path.join(root, "trees", tree, "files"))
    found = {}
    for directory, directories, names in os.walk(base):
        for name in names + [
            each for each in directories if os.path.islink(os.path.join(directory, each))
        ]:
            full = os.path.join(directory, name)
            path = os.path.relpath(full, base)
            if os.path.islink(full):
                found[path] = Link(os.readlink(full))
            else:
                with open(full, "rb") as file:
                    content = file.read()
                found[path] = Executable(content) if os.stat(full).st_mode & 0o100 else content
        if directory != base and not names and not directories:
            found[os.path.relpath(directory, base)] = DIRECTORY
    return found


def packed(content):
    """A content as it rides in a plan or a record."""
    return base64.b64encode(zlib.compress(content)).decode()
