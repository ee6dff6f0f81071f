import type { SyncPart } from '../../command/plan';
import type { Delta } from '../../snapshot/diff';
import { formatEntries, type Snapshot } from '../../snapshot/snapshot';
import type { Head } from '../manifest/head';
import type { Transfer } from '../transport/transport';
import type { SyncContext } from '../context';

/** How long an instance looks for a pack whose upload has not ended, s: another sync waits 20 s for the lock of the tree. */
const PACK_WAIT_S = 15;

/** Spare packs that a plan names for a tree that holds something else: each costs a signature. */
const MAX_SPARE_PACKS = 32;

/** A plan's part that brings a tree to a snapshot: docs/reference/formats.md, "sync, train". Signs the URLs that it takes. */
export async function planSync(
  { store, keys }: SyncContext,
  of: {
    snapshot: Snapshot;
    base: Pick<Head, 'snapshot' | 'history' | 'packs'> | null;
    /** The base's snapshot. */
    before: Snapshot | null;
    /** From there to the snapshot; null where there is none. */
    delta: Delta | null;
    transfer: Pick<Transfer, 'part' | 'uploading'>;
    /** The snapshot is not in the plan: its manifest is in the store. */
    asManifest: boolean;
    force?: boolean;
  },
): Promise<SyncPart> {
  const { snapshot, base, before, delta, transfer } = of;
  const { packs: needed, recipes, inline, archive } = transfer.part;
  const named = new Set(needed.map(({ sha256 }) => sha256));
  const spares = (base?.packs ?? []).filter(([sha256]) => !named.has(sha256));
  const packs = [
    ...needed,
    ...(spares.length <= MAX_SPARE_PACKS ? spares.map(([sha256, size]) => ({ sha256, size, spare: true })) : []),
  ];
  const history = base?.history ?? (of.asManifest ? [snapshot.id] : []);
  const sign = (key: string) => store.presignGet(key);
  const wait = (sha256: string) => (transfer.uploading.has(sha256) ? PACK_WAIT_S : 0);
  return {
    snapshot: snapshot.id,
    base: base?.snapshot ?? null,
    canonical: before || of.asManifest ? null : snapshot.canonical.toString(),
    delta: delta && { deleted: delta.deleted, entries: formatEntries(delta.changed) },
    history: await Promise.all(history.map(async (id) => ({ snapshot: id, url: await sign(keys.manifest(id)) }))),
    recipes,
    packs: await Promise.all(
      packs.map(async (pack) => ({ ...pack, wait: wait(pack.sha256), url: await sign(keys.pack(pack.sha256)) })),
    ),
    inline,
    archive,
    limits: limitsOf(snapshot),
    force: of.force ?? false,
  };
}

/** What the snapshot makes, and no more: the instance refuses whatever goes beyond. */
export function limitsOf({ entries }: Snapshot): SyncPart['limits'] {
  return {
    entries: entries.length,
    bytes: entries.reduce((sum, entry) => sum + (entry.kind === 'file' ? entry.size : 0), 0),
  };
}
