"""Removing so that nothing is ever half there: moved to `<root>/trash` at once, deleted afterwards, by this one or the next."""
import errno
import os
import shutil
import stat


class Trash:
    """To be used under one lock. `freed`: bytes of what was deleted and had no other name."""

    def __init__(self, root):
        self.at = os.path.join(root, "trash")
        self.freed = 0
        self.count = 0
        try:
            os.mkdir(self.at, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(self.at).st_mode):
                raise

    def take(self, path):
        """Whether it was moved away. What lies on another disk, or is gone, stays as it is."""
        while True:
            self.count += 1
            target = os.path.join(self.at, "%d-%d" % (os.getpid(), self.count))
            if not os.path.lexists(target):
                break
        try:
            os.rename(path, target)
            return True
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EXDEV, errno.EBUSY):
                raise
            return False

    def empty(self):
        for name in os.listdir(self.at):
            path = os.path.join(self.at, name)
            freed = size(path)
            if os.path.isdir(path) and not os.path.islink(path):
                # What can't be deleted, or is still written to, is left to the next one.
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
            if not os.path.lexists(path):
                self.freed += freed


def size(path):
    """Bytes on the disk below a path; what has another name elsewhere frees nothing."""
    total = alone(os.lstat(path))
    if os.path.isdir(path) and not os.path.islink(path):
        for _, _, names, descriptor in os.fwalk(path):
            for name in names:
                try:
                    total += alone(os.stat(name, dir_fd=descriptor, follow_symlinks=False))
                except FileNotFoundError:
                    pass
    return total


def alone(status):
    return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0
