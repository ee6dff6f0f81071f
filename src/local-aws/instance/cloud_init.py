"""cloud-init of a local instance: does what its user data says at a boot, and says how far that is."""

import email
import json
import os
import subprocess
import sys
import time
import zlib

POLL = 0.1
# User data has 16 KB at most; bytes that it may inflate to.
MOST = 4 * 1024 * 1024
# What is done with a part by its type, and how a part of no type begins.
HOOK, SCRIPT = "text/cloud-boothook", "text/x-shellscript"
BEGINS = (("#cloud-boothook", HOOK), ("#!", SCRIPT))


def status(file):
    try:
        with open(file) as content:
            return content.read().strip()
    except OSError:
        return "not started"


def parts(data):
    """(type, bytes) of each part, as cloud-init reads them: a MIME message, or one part that tells by its first line what it is."""
    if data[:2] == b"\x1f\x8b":
        data = inflate(data)
    if b"mime-version:" not in data[:4096].lower():
        return [(typed(data), data)]
    found = [each for each in email.message_from_bytes(data).walk() if not each.is_multipart()]
    return [
        (each.get_content_type() if each.get_content_type() != "text/plain" else typed(content), content)
        for each, content in ((each, each.get_payload(decode=True)) for each in found)
    ]


def inflate(data):
    """The content of a gzip file, of one member or several."""
    content = b""
    while data:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        content += unpacker.decompress(data, MOST + 1 - len(content))
        if len(content) > MOST:
            sys.exit("cloud-init: the user data inflates to more than %d bytes" % MOST)
        if not unpacker.eof:
            sys.exit("cloud-init: the user data is no whole gzip file")
        data = unpacker.unused_data
    return content


def typed(content):
    return next((kind for begins, kind in BEGINS if content.startswith(begins.encode())), None)


def boot(home):
    """Hooks at each boot, one after another, before all else; then, in the first boot, scripts. Exits with 1 where one of these failed."""
    with open(os.path.join(home, "user-data"), "rb") as file:
        found = parts(file.read())
    for number, (kind, content) in enumerate(found, 1):
        if kind == HOOK:
            hook = content[len("#cloud-boothook"):] if typed(content) == HOOK else content
            if run(os.path.join(home, "boothooks", "part-%03d" % number), hook.lstrip()):
                print("The boothook of part %d failed." % number, flush=True)
    try:
        os.mkdir(os.path.join(home, "once"))
    except FileExistsError:
        return
    failed = False
    for number, (kind, content) in enumerate(found, 1):
        if kind == SCRIPT and content.startswith(b"#!"):
            failed |= bool(run(os.path.join(home, "scripts", "part-%03d" % number), content))
        elif kind != HOOK:
            print("Local AWS runs user data that is a script, and this does not begin with #!.", flush=True)
            failed = True
    sys.exit(failed)


def run(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, 0o700)
    try:
        return subprocess.call([path], stdin=subprocess.DEVNULL)
    except OSError as error:
        print("%s: %s" % (path, error), flush=True)
        return 1


def main(file, *words):
    if words and words[0] == "boot":
        return boot(os.path.dirname(file))
    if not words or words[0] != "status":
        sys.exit("cloud-init: a local instance has `cloud-init status` only")
    unknown = set(words[1:]) - {"--wait", "-w", "--long", "-l", "--format", "--format=json", "json"}
    if unknown:
        sys.exit("cloud-init status: unrecognized arguments: %s" % " ".join(sorted(unknown)))
    found = status(file)
    if "--wait" in words or "-w" in words:
        while found not in ("done", "error"):
            time.sleep(POLL)
            found = status(file)
    if "json" in words or "--format=json" in words:
        print(json.dumps({"status": found, "errors": ["user data failed"] if found == "error" else []}))
    else:
        print("status: %s" % found)
    sys.exit(1 if found == "error" else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
