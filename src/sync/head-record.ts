import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { Snapshot } from '../snapshot/snapshot';
import type { SyncContext } from './strategy';

/** What an instance's tree acknowledged last, as the store has it: docs/FORMAT.md, "Ref". */
export interface HeadRecord {
  snapshot: Snapshot;
  helper: string;
}

/** @returns null where no sync to this instance and tree was ever acknowledged, or the record can't be read as one. */
export async function readHead(context: SyncContext): Promise<HeadRecord | null> {
  const bytes = await context.store.get(context.keys.ref(context.tree, context.instance));
  if (!bytes) return null;
  try {
    const record = JSON.parse(gunzipSync(bytes).toString('utf8')) as Record<string, unknown>;
    if (record.v !== 1) return null;
    const snapshot = Snapshot.parse(inflateSync(Buffer.from(record.manifest as string, 'base64')));
    if (snapshot.id !== record.snapshot) return null;
    return { snapshot, helper: String(record.helper) };
  } catch {
    // It only chooses what is sent: without it, everything is.
    return null;
  }
}

export async function writeHead(context: SyncContext, snapshot: Snapshot): Promise<void> {
  const record = { v: 1, snapshot: snapshot.id, manifest: packManifest(snapshot), helper: context.remote.helper };
  await context.store.put(context.keys.ref(context.tree, context.instance), gzipSync(JSON.stringify(record)));
}

/** A snapshot's canonical form as it travels in a plan. */
export function packManifest(snapshot: Snapshot): string {
  return deflateSync(snapshot.canonical).toString('base64');
}
