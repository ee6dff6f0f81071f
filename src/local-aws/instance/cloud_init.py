"""cloud-init of a local instance: says how far its boot is."""

import json
import sys
import time

POLL = 0.1


def status(file):
    try:
        with open(file) as content:
            return content.read().strip()
    except OSError:
        return "not started"


def main(file, *words):
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
