import { chmodSync, constants, existsSync, lstatSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { refuseUnsafeArtifacts } from './artifact-paths';
import { fetchFile, hashOpened, Room, UNFINISHED, unfinished } from './fetch-file';
import { refuseSymlinkOnTheWay } from './no-symlinks';
import { parsePointer, pointerPath } from './pointer';
import { wantedArtifacts, wantedCheckpoints, type PullWishes } from './pull-wishes';
import type { RunRecord } from './record';
import type { StoredFile } from './run-files';

/** Files that are looked at, or fetched, at once; their parts share one room. */
const FILES = 8;

export interface Pulled {
  /** Files that were fetched, and those that were there already. */
  fetched: number;
  there: number;
  /** bytes that came over the wire: what an earlier pull has left is not among them. */
  bytes: number;
}

/**
 * Brings artifacts and checkpoints of a run from the store, whether it goes on or has ended. Nothing is written before
 * all paths are known to be safe; each file is switched in when it is whole. One that is there already stays.
 * @throws Problem `NOTHING_TO_PULL`, `NO_CHECKPOINT`, and those of reading, of unsafe paths, of fetching.
 */
export async function pullRun(
  { store, keys, reporter }: { store: Store; keys: StoreKeys; reporter: Reporter },
  record: RunRecord,
  wishes: PullWishes,
): Promise<Pulled> {
  const { output, outputDir, signal } = wishes;
  const files = [
    ...(await wantedArtifacts(store, keys, reporter, record, wishes)),
    ...(await wantedCheckpoints(store, keys, record, wishes)),
  ];
  // One rule for all that is written, whoever has made the lists.
  refuseUnsafeArtifacts(files, outputDir, wishes.tracked ?? null, wishes.limit);
  const wanted = files.map((file) => ({ file, path: file.path.slice(outputDir.length + 1) }));
  refuseBlocked(
    output,
    wanted.map(({ path }) => path),
  );

  const total = files.reduce((sum, { size }) => sum + size, 0);
  const progress = reporter.progress('Fetching', total);
  const pulled: Pulled = { fetched: 0, there: 0, bytes: 0 };
  const room = new Room();
  const prefix = keys.run(record.id);
  let done = 0;
  const queue = [...wanted];
  const failed = new AbortController();
  const any = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      any.throwIfAborted();
      const { file, path } = next;
      const target = join(output, path);
      if (await isThere(target, file)) {
        pulled.there++;
        progress.update((done += file.size));
      } else {
        await fetchFile(store, prefix, file, target, {
          signal: any,
          room,
          onBytes: (bytes, fetched) => {
            if (fetched) pulled.bytes += bytes;
            progress.update((done += bytes));
          },
        });
        pulled.fetched++;
      }
      removePointer(target, file.sha256);
    }
  };
  const all = await Promise.allSettled(
    Array.from({ length: FILES }, () =>
      work().catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ),
  );
  progress.end();
  if (all.some(({ status }) => status === 'rejected')) throw failed.signal.reason;
  const there = pulled.there > 0 ? `, ${pulled.there} there already` : '';
  reporter.line(`Pulled ${formatCount(pulled.fetched, 'file')} (${formatSize(pulled.bytes)})${there}: ${output}`);
  return pulled;
}

/** @throws Problem where something that is here would be written through, or would have to go. */
function refuseBlocked(output: string, paths: string[]): void {
  for (const path of paths) {
    if (path.endsWith(UNFINISHED)) {
      throw new Problem('ARTIFACT_UNSAFE', `${printable(path)} was refused: files that are not whole are named so.`, {
        next: 'Nothing was written. Have the training name it otherwise.',
      });
    }
    refuseSymlinkOnTheWay(output, dirname(path));
    const parts = path.split('/');
    const parents = parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join('/'));
    for (const at of [...parents, path, unfinished(path)]) {
      const stat = lstatSync(join(output, at), { throwIfNoEntry: false });
      if (!stat) continue;
      const fits = parents.includes(at) ? stat.isDirectory() : at === path ? !stat.isDirectory() : stat.isFile();
      if (!fits) {
        throw new Problem('ARTIFACT_BLOCKED', `${printable(path)} can't be written: ${printable(at)} is in the way.`, {
          next: `Move it away, in ${output}, and run the same command again.`,
        });
      }
    }
  }
  mkdirSync(output, { recursive: true });
}

async function isThere(target: string, { size, sha256, executable }: StoredFile): Promise<boolean> {
  const stat = lstatSync(target, { throwIfNoEntry: false });
  if (!stat?.isFile() || stat.size !== size) return false;
  const file = await open(target, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
  try {
    if ((await hashOpened(file, size)) !== sha256) return false;
  } finally {
    await file.close();
  }
  if (process.platform !== 'win32' && Boolean(stat.mode & 0o100) !== executable)
    chmodSync(target, executable ? 0o755 : 0o644);
  return true;
}

/** The artifact is here: what stood in its place goes. */
function removePointer(target: string, sha256: string): void {
  const pointer = pointerPath(target);
  if (existsSync(pointer) && parsePointer(readFileSync(pointer, 'utf8'))?.sha256 === sha256) rmSync(pointer);
}
