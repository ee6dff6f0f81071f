"""What a source in S3 holds, and the version that follows from it."""

from __future__ import annotations

import hashlib

from ..aws.endpoints import bucket_url, encode, is_region
from ..aws.list_objects import list_objects
from ..aws.signed_requests import Service
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Sequence, TypeVar

    from ..aws.http_pool import Connections
    from ..aws.signed_requests import Answer

    T = TypeVar("T")


# S3 answers the same to a role that may not read and to one that does not offer to pay.
FIX = (
    "give the instance's role s3:ListBucket on the bucket and s3:GetObject on what is below the "
    "prefix; a requester-pays bucket can't be read: copy the data to a bucket of your own"
)


# All of them are in memory, and each is a file of its own.
MAX_OBJECTS = 2_000_000
# `progress` is called before each of so many objects.
STEP = 10_000


class Object:
    """`path` is relative to the source."""

    __slots__ = ("etag", "key", "path", "size")

    def __init__(self, key: str, path: str, *, size: int, etag: str) -> None:
        self.key, self.path, self.size, self.etag = key, path, size, etag


class Listed:
    """A source as it is now. `is_object`: it is one object, and no prefix."""

    def __init__(
        self,
        source: str,
        service: Service,
        url: str,
        *,
        objects: Sequence[Object],
        directories: Sequence[str],
        version: str,
        is_object: bool = False,
    ) -> None:
        self.source, self.service, self.url = source, service, url
        self.objects, self.directories, self.is_object = objects, directories, is_object
        self.bytes = sum(each.size for each in objects)
        self.version = version

    def failure(self, message: str, answer: Answer | None = None, **detail: Any) -> Failure:
        """What went wrong with it, with S3's own words."""
        if answer is not None:
            detail.update(status=answer.status, aws=answer.words)
            message += ": " + answer.words
            if answer.status == 403:
                message += "; " + FIX
        return Failure(
            "DATA_FAILED", "%s: %s" % (self.source, message), source=self.source, **detail
        )


def too_many(source: str) -> Failure:
    return Failure(
        "DATA_FAILED",
        "%s: it holds more than %d objects; pack them into archives, or name a prefix with fewer"
        % (source, MAX_OBJECTS),
        source=source,
        limit=MAX_OBJECTS,
    )


def in_steps(each: Sequence[T], progress: Callable[[], object]) -> Iterator[T]:
    for number, one in enumerate(each):
        if number % STEP == 0:
            progress()
        yield one


def version_of(
    bucket: str,
    start: str,
    found: Sequence[tuple[str, int, str]],
    *,
    progress: Callable[[], object] = lambda: None,
) -> str:
    """SHA-256 over the bucket, the start of the keys that the paths in the copy lack, and each
    (key, size, ETag), sorted by the keys' bytes.
    """
    digest = hashlib.sha256(("nx-ec2 data 2\0%s\0%s\0" % (bucket, start)).encode())
    in_order = sorted(found, key=lambda each: each[0].encode())
    for key, size, etag in in_steps(in_order, progress):
        digest.update(("%s\0%s\0%d\0" % (key, etag.strip('"'), size)).encode())
    return digest.hexdigest()


def split(source: str) -> tuple[str, str]:
    """(bucket, prefix without a slash at its end) of `s3://<bucket>[/<prefix>]`."""
    scheme, _, rest = source.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise Failure("BAD_PLAN", "%s is not of the form s3://<bucket>/<prefix>" % source)
    return bucket, prefix.rstrip("/")


def list_source(
    source: str,
    *,
    region: str,
    endpoint: str | None,
    connections: Connections,
    progress: Callable[[], object] = lambda: None,
) -> Listed:
    """The Listed of a source. DATA_FAILED where it can not be listed, nothing is there, or too
    much; UNSAFE_PATH. `progress` is called again and again; what it raises ends it.
    """
    bucket, prefix = split(source)
    service, url = locate_bucket(
        source, bucket, region=region, endpoint=endpoint, connections=connections
    )
    start = prefix + "/" if prefix else ""
    try:
        found: list[tuple[str, int, str]] = []
        for each in list_objects(service, url, prefix=start, on_page=progress):
            if len(found) == MAX_OBJECTS:
                raise too_many(source)
            found.append(each)
    except Failure as failure:
        if failure.code not in ("ACCESS_DENIED", "FETCH_FAILED"):
            raise
        fix = "; " + FIX if failure.code == "ACCESS_DENIED" else ""
        raise Failure(
            "DATA_FAILED",
            "%s: %s%s" % (source, failure.message, fix),
            source=source,
            **failure.detail,
        )
    if not found and prefix:
        listed = one_object(source, service, url, bucket=bucket, key=prefix)
        if listed:
            return listed
    objects: list[Object] = []
    directories: list[str] = []
    for key, size, etag in in_steps(found, progress):
        path = key[len(start) :]
        # An object that ends in a slash stands for a directory.
        if not path or path.endswith("/"):
            if size:
                raise Failure(
                    "UNSAFE_PATH",
                    "%s: the object %s has content and the name of a directory" % (source, key),
                    path=key,
                )
            if path:
                directories.append(safe(path[:-1], source))
        else:
            objects.append(Object(key, safe(path, source), size=size, etag=etag))
    check_clashes(source, objects, directories, progress=progress)
    version = version_of(bucket, start, found, progress=progress)
    listed = Listed(source, service, url, objects=objects, directories=directories, version=version)
    if not objects:
        raise listed.failure("no object has this name")
    return listed


def one_object(source: str, service: Service, url: str, *, bucket: str, key: str) -> Listed | None:
    answer = service.ask("HEAD", url + encode(key, "/"))
    if answer.status != 200:
        return None
    found = Object(
        key,
        safe(key.rpartition("/")[2], source),
        size=int(answer.headers["Content-Length"]),
        etag=answer.headers["ETag"],
    )
    version = version_of(bucket, key, [(key, found.size, found.etag)])
    return Listed(
        source, service, url, objects=[found], directories=[], version=version, is_object=True
    )


def locate_bucket(
    source: str, bucket: str, *, region: str, endpoint: str | None, connections: Connections
) -> tuple[Service, str]:
    """(service, the bucket's URL) where the bucket is: S3 says so of any bucket, to whoever asks
    elsewhere.
    """
    moved = False
    while True:
        service = Service("s3", region, connections=connections)
        url = bucket_url(bucket, region, endpoint=endpoint, path_style=endpoint is not None)
        answer = service.ask("HEAD", url)
        found = answer.headers.get("x-amz-bucket-region")
        if answer.status == 404:
            raise Failure(
                "DATA_FAILED",
                "%s: there is no bucket %s" % (source, bucket),
                source=source,
                status=404,
            )
        if moved or not found or found == region or not is_region(found):
            return service, url
        region, moved = found, True


def safe(path: str, source: str) -> str:
    """The path, if it leads to a place below where it starts from. UNSAFE_PATH."""
    data = path.encode("utf-8", "surrogateescape")
    if (
        "\0" in path
        or len(data) > 4096
        or any(name in ("", ".", "..") for name in path.split("/"))
        or any(len(name) > 255 for name in data.split(b"/"))
    ):
        raise Failure("UNSAFE_PATH", "%s: %r is not a path below it" % (source, path), path=path)
    return path


def check_clashes(
    source: str,
    objects: Sequence[Object],
    directories: Sequence[str],
    *,
    progress: Callable[[], object],
) -> None:
    """A name can be a file or a directory, and never both."""
    files = {each.path for each in objects}
    paths = [each.path for each in objects] + [path + "/" for path in directories]
    for path in in_steps(paths, progress):
        parent = path.rpartition("/")[0]
        while parent:
            if parent in files:
                raise Failure(
                    "UNSAFE_PATH",
                    "%s: %s is an object, and there are objects below it" % (source, parent),
                    path=parent,
                )
            parent = parent.rpartition("/")[0]
