"""A snapshot as the store has it, as the part of a plan that syncs: fetched by the instance's role,
with URLs that are signed here.
"""

from __future__ import annotations

import time

from ..aws.endpoints import bucket_url, encode
from ..aws.http_pool import Connections
from ..aws.presign import presign
from ..aws.signed_requests import Clock
from ..sync.manifest_chain import VERSIONS, ManifestMissing, read_manifest
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sized

    from ..aws.credentials import Role
    from ..system.documents import StoreAccess, SyncSpec, SyncSpecLimits, SyncSpecPacksItem


# Seconds that a URL lives, if the role's credentials do.
URL_LIFETIME_S = 6 * 3600
# Packs of a manifest that may hold nothing of its snapshot.
OTHER_PACKS = 256


class Signer:
    """URLs of what is in the store, beside a run's own."""

    def __init__(self, access: StoreAccess, run: str, role: Role) -> None:
        self.access, self.role = access, role
        self.url = bucket_url(
            access["bucket"],
            access["region"],
            endpoint=access["endpoint"],
            path_style=access["pathStyle"],
        )
        # v2/projects/<project>/run/<run>/
        self.project = access["prefix"][: -len("run/%s/" % run)]
        self.base = self.project.rstrip("/").rpartition("/")[0][: -len("projects")]

    def manifest(self, snapshot: str) -> str:
        return self.sign("%smanifests/%s" % (self.project, snapshot))

    def pack(self, name: str) -> str:
        return self.sign("%spacks/%s" % (self.base, name))

    def sign(self, key: str) -> str:
        owner = self.access["owner"]
        more = {"x-amz-expected-bucket-owner": owner} if owner else {}
        return presign(
            self.role.credentials(),
            self.access["region"],
            url=self.url + encode(key, "/"),
            seconds=URL_LIFETIME_S,
            now=time.time() + Clock.offset,
            more=more.items(),
        )


def plan_sync(signer: Signer, snapshot: str, limits: SyncSpecLimits) -> SyncSpec:
    """The `sync` of a plan that brings a tree to the snapshot: docs/reference/formats.md, "sync,
    train". ACCESS_DENIED, SNAPSHOT_MISMATCH.
    """
    connections = Connections()
    try:
        manifest = read_manifest(
            connections, {"snapshot": snapshot, "url": signer.manifest(snapshot)}
        )
    except ManifestMissing:
        raise Failure(
            "ACCESS_DENIED",
            "the manifest of the snapshot %s is not in the store, "
            "or the instance's role may not read it" % snapshot,
            fix="allow s3:GetObject on %s/%s*" % (signer.access["bucket"], signer.base),
            snapshot=snapshot,
        )
    finally:
        connections.close()
    try:
        if manifest["v"] not in VERSIONS:
            raise ValueError("it is of version %r" % manifest["v"])
        if manifest["snapshot"] != snapshot or manifest["base"] is not None:
            raise ValueError("it belongs to another run, or is not complete")
        # A pack that an earlier sync made may hold little of this: of each only what lacks is read.
        packs: list[SyncSpecPacksItem] = [
            {"sha256": name, "size": size, "url": signer.pack(name), "spare": True, "wait": 0}
            for name, size in manifest["packs"][: max_packs(manifest)]
        ]
        return {
            "snapshot": snapshot,
            "base": None,
            "canonical": manifest["canonical"],
            "delta": None,
            "history": [],
            "recipes": manifest["recipes"],
            "packs": packs,
            "inline": manifest["inline"],
            "archive": None,
            "limits": limits,
            "force": False,
        }
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            "SNAPSHOT_MISMATCH",
            "the manifest of snapshot %s is not valid: %s" % (snapshot, error),
            snapshot=snapshot,
        )


def max_packs(manifest: Any) -> int:
    """As many packs as there are chunks, and some that hold nothing of this snapshot: each costs a
    signature and a request, and a forged manifest can name millions.
    """
    recipes: list[Sized] = list(manifest["recipes"].values())
    chunks = sum(len(each) // 48 if isinstance(each, str) else len(each) for each in recipes)
    return OTHER_PACKS + chunks + manifest["canonical"].count("\0")
