"""Which names of a checkpoint directory are versions of one checkpoint. In doubt they are not: a
set has each of them.
"""

from __future__ import annotations

import re

# Words before a number that counts versions. A training's checkpoints are counted too, but where a
# step is named, that counts.
STEP = r"(?:global[-_]?)?steps?|epochs?|ep|iter(?:ation)?s?|updates?"
CHECKPOINT = r"checkpoint|ckpt|chkpt"
# Words before a number of one of several parts, which no pointer makes versions of one another.
PART = (
    r"folds?|splits?|seeds?|parts?|members?|heads?|stages?|layers?|agents?|tasks?|clients?|"
    r"rank|shard|worker"
)
NUMBER = r"[0-9]+(?:\.[0-9]+)?"


def counted(words: str) -> re.Pattern[str]:
    """A number after one of the words, which no letter stands before."""
    return re.compile(r"(?<![^\W\d_])((?:%s)[-_=.: ]{0,2})%s" % (words, NUMBER), re.IGNORECASE)


BY_STEP, BY_CHECKPOINT = counted(STEP), counted(CHECKPOINT)
DECIMAL = re.compile(r"(?<![0-9.])[0-9]+\.[0-9]+(?![0-9]|\.[0-9])")
ANY = re.compile(r"((?<![^\W\d_])(?:%s)[-_=.: ]{0,2})?%s" % (PART, NUMBER), re.IGNORECASE)


def family(label: str) -> str:
    """The same for names of which it is known that they are versions of one another: they differ in
    the number of a step, or of a checkpoint, and in fractions (`epoch=3-val_loss=0.25.ckpt`). No
    name has a `/`.
    """
    for rule in (BY_STEP, BY_CHECKPOINT):
        if rule.search(label):
            return DECIMAL.sub("/", rule.sub(r"\1/", label))
    return label


def numbered(label: str) -> str:
    """The same for names that differ in any numbers but those of parts: versions of one another
    where a pointer, or their framework, says so.
    """
    return ANY.sub(lambda match: match.group() if match.group(1) else "/", label)


def version(label: str, of: str) -> tuple[float, ...] | None:
    """The numbers that tell a name from the other versions of its family `of`; None of a name that
    has none.
    """
    if of == label:
        return None
    if of == family(label):
        rule = BY_STEP if BY_STEP.search(label) else BY_CHECKPOINT
        found = [match.group()[len(match.group(1)) :] for match in rule.finditer(label)]
    else:
        found = [match.group() for match in ANY.finditer(label) if not match.group(1)]
    return tuple(map(float, found))
