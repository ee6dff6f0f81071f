"""The format of the event files that TensorBoard reads.

An event file is a row of records: the length of an event in 8 bytes, 4 bytes of a checksum, the
event, 4 bytes of a checksum. An event is a message of Protocol Buffers. The content of these files
is the training's: it counts as numbers only after it was parsed.
"""

from __future__ import annotations

import math
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, Optional, Union

    # By name; None where the number is not finite.
    Scalars = Dict[str, Optional[float]]
    Value = Union[int, bytes]

# How much of one file is read before it is another's turn.
MAX_READ_BYTES = 256 * 1024
# A longer event holds no scalars alone, but images, histograms, graphs.
MAX_SCALAR_EVENT_BYTES = 64 * 1024
# No event is as long: the file is none.
MAX_EVENT_BYTES = 1 << 32
MAX_TAG_LENGTH = 200
# Before and after an event.
HEAD_BYTES, FOOT_BYTES = 12, 4


def read_events(descriptor: int, offset: int, size: int) -> tuple[list[Scalars], int | None]:
    """(the scalars of the complete events from an offset on, each with its "step"; the offset
    after them or None).
    """
    samples: list[Scalars] = []
    end = min(size, offset + MAX_READ_BYTES)
    while offset + HEAD_BYTES <= end:
        head = os.pread(descriptor, 8, offset)
        if len(head) < 8:
            # Cut off since its size was asked for.
            break
        (length,) = struct.unpack("<Q", head)
        if length > MAX_EVENT_BYTES:
            return samples, None
        if offset + HEAD_BYTES + length + FOOT_BYTES > size:
            break
        if length <= MAX_SCALAR_EVENT_BYTES:
            try:
                step, scalars = scalars_of(os.pread(descriptor, length, offset + HEAD_BYTES))
            except (ValueError, IndexError, struct.error):
                return samples, None
            last = samples[-1] if samples else {}
            if scalars and last.get("step") == step and not any(tag in last for tag in scalars):
                samples[-1].update(scalars)
            elif scalars:
                samples.append({"step": step, **scalars})
        offset += HEAD_BYTES + length + FOOT_BYTES
    return samples, offset


def scalars_of(event: bytes) -> tuple[int, Scalars]:
    """(the step of an event, {tag: number or None}). ValueError, IndexError, struct.error where it
    is none.
    """
    step = 0
    scalars: Scalars = {}
    for number, value in fields(event):
        if number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5 and isinstance(value, bytes):
            for inner, each in fields(value):
                tag, scalar = (
                    scalar_of(each) if inner == 1 and isinstance(each, bytes) else ("", None)
                )
                if tag and scalar is not None and len(tag) <= MAX_TAG_LENGTH and tag != "step":
                    scalars[tag] = scalar if math.isfinite(scalar) else None
    return step, scalars


def scalar_of(value: bytes) -> tuple[str, float | None]:
    """(the tag, the number) of one value of a summary; None for a number where it is something
    else.
    """
    tag, scalar = "", None
    for number, each in fields(value):
        if number == 1 and isinstance(each, bytes):
            tag = each.decode("utf-8", "replace")
        elif number == 2 and isinstance(each, bytes) and len(each) == 4:
            scalar = unpacked("<f", each)
        elif number == 8 and isinstance(each, bytes):
            scalar = number_of(each)
    return tag, scalar


# {the type of a tensor: (how its bytes are read, the field that holds its values)}
TENSORS = {1: ("<f", 5), 2: ("<d", 6)}


def number_of(tensor: bytes) -> float | None:
    """The number that a tensor of floats without dimensions is; None of any other."""
    content: Value | None = None
    kind: Value = 0
    values: dict[int, Value] = {}
    for number, each in fields(tensor):
        if number == 1:
            kind = each
        elif number == 2 and any(inner == 2 for inner, _ in fields(each)):
            return None
        elif number == 4:
            content = each
        else:
            values[number] = each
    if not isinstance(kind, int) or kind not in TENSORS:
        return None
    form, field = TENSORS[kind]
    data = content if content is not None else values.get(field)
    return (
        unpacked(form, data)
        if isinstance(data, bytes) and len(data) == struct.calcsize(form)
        else None
    )


def unpacked(form: str, data: bytes) -> float:
    (value,) = struct.unpack(form, data)
    # With no more digits than it has.
    return float("%.7g" % value) if form == "<f" else value


def fields(data: Value) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field of a message: an int, or bytes. ValueError, IndexError where it
    is cut off or none.
    """
    if isinstance(data, int):
        raise ValueError("no message")
    message, at = data, 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        value: Value
        if kind == 0:
            value, at = varint(message, at)
        else:
            if kind == 2:
                length, at = varint(message, at)
            else:
                length = {1: 8, 5: 4}.get(kind)
            if length is None or at + length > len(message):
                raise ValueError("no field")
            value, at = message[at : at + length], at + length
        yield key >> 3, value


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), at
    raise ValueError("no number")
