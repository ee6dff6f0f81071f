"""What a checkpoint directory holds: units, each whole or still on its way."""
import hashlib
import re
import stat

from . import inside

# Names under which frameworks write what they rename when it is whole, and what marks another unit.
ON_ITS_WAY = re.compile(r"\..*|tmp-.*|.*\.(tmp|part|partial|complete)|.*\.orbax-checkpoint-tmp.*", re.DOTALL)
# What trainings log beside their checkpoints.
LOGS = re.compile(r"runs|logs|lightning_logs|wandb|mlruns|tensorboard|events\.out\.tfevents\..*|.*\.log", re.DOTALL)
TRAINER = re.compile(r"checkpoint-\d+")
MARK = ".complete"
# A unit that does not change for so long, seconds, is taken to be whole.
QUIET = 2.0


class Unit:
    """One top-level name of a checkpoint directory."""

    def __init__(self, name, found, account=None):
        self.name, self.account = name, account
        self.directory = stat.S_ISDIR(found.st_mode)
        self.files = []
        # When it changed last, seconds, by what its files and directories say.
        self.changed = 0.0
        # When the last of its files came to be as it is, which no program can set: (ctime, name as numbers sort).
        self.order = (0, len(name), name)
        # Why it can not be saved.
        self.why = None
        self._signature = None
        self._lines, self._newest, self._mark = [], 0.0, None
        self.add(name, found)

    def add(self, path, found):
        isdir = stat.S_ISDIR(found.st_mode)
        self._lines.append((path, stat.S_IFMT(found.st_mode), found.st_mode & 0o100, 0 if isdir else found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))
        if path == self.name + "/" + MARK:
            self._mark = found.st_mtime
        else:
            self.changed = max(self.changed, found.st_mtime)
        why = inside.what_else(path, found, self.account)
        if why:
            self.why = "%s: %s" % (inside.shown(path), why)
            return
        if isdir:
            # Renamed in, not merely emptied.
            if path == self.name and found.st_ctime_ns > found.st_mtime_ns:
                self._came(found)
            return
        self.files.append(path)
        self._came(found)
        if path != self.name + "/" + MARK:
            self._newest = max(self._newest, found.st_mtime)

    def _came(self, found):
        self.order = (max(self.order[0], found.st_ctime_ns),) + self.order[1:]

    def mark(self, found):
        if stat.S_ISREG(found.st_mode):
            self._mark = found.st_mtime

    @property
    def marked(self):
        """Whether it says itself that it is whole: the mark is no older than what it marks."""
        return self._mark is not None and self._mark >= self._newest

    @property
    def signature(self):
        """Another one after each change of anything in it."""
        if self._signature is None:
            self._signature = hashlib.sha256(repr(self._lines).encode("utf-8", "surrogateescape")).hexdigest()
        return self._signature

    @property
    def trainers(self):
        """Whether the Trainer of Hugging Face has made it."""
        return TRAINER.fullmatch(self.name) is not None and any(self.name + name in self.files for name in ("/training_args.bin", "/trainer_state.json"))

    @property
    def unfinished(self):
        """Whether a file lacks that its framework writes last: the Trainer of Hugging Face, distributed checkpoints of PyTorch."""
        there = set(self.files)
        if self.trainers and self.name + "/trainer_state.json" not in there:
            return True
        sharded = {path.rpartition("/")[0] for path in self.files if path.endswith(".distcp")}
        return any(directory + "/.metadata" not in there for directory in sharded)


def find(directory, account=None):
    """The units by their names. An empty one is none."""
    units, marks = {}, {}
    for path, found in inside.walk(directory, account=account):
        name, _, below = path.partition("/")
        if not below and name.endswith(MARK):
            marks[name[:-len(MARK)]] = found
        if ON_ITS_WAY.fullmatch(name) or LOGS.fullmatch(name):
            continue
        if below:
            if name in units:
                units[name].add(path, found)
        elif not stat.S_ISLNK(found.st_mode):
            units[name] = Unit(name, found, account)
    for name, found in marks.items():
        if name in units:
            units[name].mark(found)
    # Beside its checkpoints the Trainer writes the model, its card, its arguments: they would push the checkpoints out.
    alone = any(unit.trainers for unit in units.values())
    return {name: unit for name, unit in units.items() if (unit.files or unit.why) and not (alone and not TRAINER.fullmatch(name))}
