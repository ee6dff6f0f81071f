"""Compiles the modules of an environment, each content once: code that was compiled before is taken from a store.

The Python of the environment runs this text (`python -I -c TEXT DIRECTORY [STORE]`), so it imports nothing of the runtime."""
import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import sys
import warnings

# In the store, a file holds this much of its code's SHA-256 before the code: a crash may have truncated it.
CHECK = 16
SUFFIX = ".nx-ec2-part"


def command(python, directory, store):
    """The command line that compiles what lies below a directory; `store` may be None."""
    return [python, "-I", "-c", __loader__.get_source(__name__), directory] + ([store] if store else [])


def compile_all(directory, store, processes):
    """Compiles the modules below a directory. Returns how many were (compiled, taken from the store)."""
    warnings.simplefilter("ignore")
    if store:
        # Code is of one version of Python.
        store = os.path.join(store, "%s-%s" % (sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER.hex()))
    paths = sorted(modules(directory))
    children = []
    for index in range(processes):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                counts = [compile_file(path, store) for path in paths[index::processes]]
                os.write(writer, ("%d %d" % (counts.count("compiled"), counts.count("taken"))).encode())
                status = 0
            except OSError as error:
                print(error, file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        os.close(writer)
        children.append((child, reader))
    said = []
    for child, reader in children:
        with open(reader) as file:
            said.append([int(each) for each in file.read().split()] or None)
        os.waitpid(child, 0)
    if None in said:
        raise OSError("not all modules were compiled")
    return tuple(map(sum, zip(*said)))


def modules(directory):
    for at, directories, names in os.walk(directory):
        # A third of the code of common packages, which no training imports.
        directories[:] = [name for name in directories if name != "tests"]
        yield from (os.path.join(at, name) for name in names if name.endswith(".py"))


def compile_file(path, store):
    target = importlib.util.cache_from_source(path)
    if os.path.exists(target) or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        source, status = file.read(), os.fstat(file.fileno())
    kept = None
    if store:
        digest = hashlib.sha256(source).hexdigest()
        kept = os.path.join(store, digest[:2], digest[2:])
    code, how = read(kept), "taken"
    if code is None:
        try:
            # An import puts the module's own path in place of this one, so the code serves other environments.
            code, how = marshal.dumps(importlib.machinery.SourceFileLoader("module", path).source_to_code(source, path)), "compiled"
        except Exception:
            # Not for this Python, as templates and other files that nothing imports.
            return None
        if kept:
            write(kept, check(code) + code)
    # As import writes it: valid while the source has this time and size.
    write(target, importlib.util.MAGIC_NUMBER + b"".join((each & 0xFFFFFFFF).to_bytes(4, "little") for each in (0, int(status.st_mtime), status.st_size)) + code)
    return how


def check(code):
    return hashlib.sha256(code).digest()[:CHECK]


def read(path):
    """The code of a file in the store; None where it is missing or damaged."""
    try:
        with open(path or "", "rb") as file:
            data = file.read()
    except OSError:
        return None
    return data[CHECK:] if data[:CHECK] == check(data[CHECK:]) else None


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = "%s.%d%s" % (path, os.getpid(), SUFFIX)
    try:
        with open(part, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except OSError:
        if os.path.lexists(part):
            os.unlink(part)
        raise


def main(directory, store=None):
    compiled, taken = compile_all(directory, store, len(os.sched_getaffinity(0)))
    print("%d modules compiled%s" % (compiled, ", %d were compiled before" % taken if taken else ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
