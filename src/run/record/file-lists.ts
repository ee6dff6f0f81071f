import { hash } from 'node:crypto';
import { z } from 'zod';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { path, text } from '../../report/text-schema';
import type { StoreKeys } from '../../store/keys';
import { readAgain } from '../../store/objects/read-again';
import type { Store } from '../../store/store';
import { parseJson, TooLarge } from '../../system/bounded';
import { prefixOfRecord, type RunRecord } from './record';

/** Parts are of this size, but the last one: docs/reference/formats.md, "Parts". */
export const PART_BYTES = 8 * 1024 * 1024;

/** A list of 100,000 files with their parts. */
const MAX_LIST_BYTES = 128 * 1024 * 1024;
/** Files of one list: more are not saved. */
export const MAX_FILES = 100_000;
/** Extra files of one run: more are not saved. */
export const MAX_EXTRA_FILES = 10_000;
/** 8 TB. */
const MAX_PARTS = 1_000_000;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const storedFile = z
  .object({
    path: path(),
    size: z.number().int().nonnegative(),
    sha256,
    executable: z.boolean(),
    parts: z.array(sha256).max(MAX_PARTS),
  })
  .refine(({ size, parts }) => parts.length === Math.ceil(size / PART_BYTES), 'the sizes of its parts do not add up');

/** Why a result is on the instance alone. */
const unsavedBecause = z.enum(['changed', 'bytes', 'files', 'link', 'name', 'unreadable']);

const artifactList = z.object({
  v: z.literal(1),
  files: z.array(storedFile).max(MAX_FILES),
  extra: z.array(storedFile).max(MAX_EXTRA_FILES).default([]),
  unsaved: z
    .array(z.object({ path: text(), why: text(), size: z.number().int().nonnegative() }))
    .max(MAX_FILES)
    .default([]),
  skipped: z.array(z.object({ path: text(), why: text(), unsaved: unsavedBecause.optional() })).max(MAX_FILES),
});

const checkpoint = z
  .object({
    v: z.literal(1),
    n: z.number().int().positive(),
    unit: path(),
    names: z
      .array(z.object({ name: path(), kind: z.enum(['file', 'directory', 'link']) }))
      .min(1)
      .max(MAX_FILES),
    at: z.number(),
    attempt: z.number().int().nonnegative(),
    files: z.array(storedFile).min(1).max(MAX_FILES),
  })
  .refine(({ names, files }) => {
    const kinds = new Map(names.map(({ name, kind }) => [name, kind]));
    return files.every(({ path }) => {
      if (kinds.has(path)) return kinds.get(path) === 'file';
      return directoriesOf(path).some((directory) => kinds.get(directory) === 'directory');
    });
  }, 'it names files of other runs');

/** A file in the store, in parts. Its path is as the instance says: nothing has checked where it leads. */
export type StoredFile = z.infer<typeof storedFile> & {
  /** The prefix that its parts are below, where that is not the run's: another node has written it. */
  prefix?: string;
};
/** Paths are relative to the project; those of `extra` and `unsaved` to the workspace. */
export type ArtifactList = z.infer<typeof artifactList>;
/**
 * A set of names. Paths begin with one of them; a link has no file. They are relative to the checkpoint directory, or, where
 * they begin with `./`, to the project.
 */
export type Checkpoint = z.infer<typeof checkpoint>;

/** The directories that a path is in. */
export function directoriesOf(path: string): string[] {
  const parts = path.split('/');
  return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join('/'));
}

/** The list of a run's artifacts; null where none were saved. @throws Problem `LIST_MISMATCH` */
export async function readArtifactList(store: Store, keys: StoreKeys, record: RunRecord): Promise<ArtifactList | null> {
  const { artifacts } = record;
  if (artifacts?.state !== 'saved' || !artifacts.sha256) return null;
  return readPinned(store, `${prefixOfRecord(keys, record)}artifacts.json`, artifacts.sha256, artifactList);
}

/** A checkpoint that the run's record names. @throws Problem `NO_CHECKPOINT`, `LIST_MISMATCH` */
export async function readCheckpoint(store: Store, keys: StoreKeys, record: RunRecord, n: number): Promise<Checkpoint> {
  const kept = record.checkpoints.find((each) => each.n === n);
  if (!kept) {
    const there = record.checkpoints.map((each) => each.n).join(', ');
    throw new Problem('NO_CHECKPOINT', `${record.id} has no checkpoint ${n}.`, {
      next: there ? `It has: ${there}.` : 'It has none.',
    });
  }
  return readPinned(store, `${prefixOfRecord(keys, record)}checkpoint/${n}.json`, kept.sha256, checkpoint);
}

async function readPinned<T>(store: Store, key: string, sha256: string, schema: z.ZodType<T>): Promise<T> {
  const bytes = await readAgain('LIST_MISMATCH', async () => {
    const stored = await store.getWithETag(key, MAX_LIST_BYTES);
    if (stored && hash('sha256', stored.bytes, 'hex') !== sha256)
      throw mismatch(key, "is not what the run's record says");
    return stored?.bytes;
  });
  if (!bytes) throw mismatch(key, 'is no longer in the store', '"nx-ec2 store prune" or a person removed it.');
  try {
    const parsed = schema.safeParse(parseJson(bytes));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw mismatch(
      key,
      `can't be read: ${sanitizeForTerminal(`${issue.path.join('.')}: ${issue.message}`).slice(0, 500)}`,
    );
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw mismatch(key, `can't be read: ${error instanceof TooLarge ? error.message : 'it is not valid JSON'}`);
  }
}

function mismatch(key: string, what: string, next = 'Another program is writing to this prefix.'): Problem {
  return new Problem('LIST_MISMATCH', `${key} ${what}.`, { next });
}
