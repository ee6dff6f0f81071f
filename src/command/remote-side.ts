import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';

/** The remote side as it travels: docs/FORMAT.md, "Helper". */
export interface RemoteSide {
  bytes: Buffer;
  sha256: string;
  /** The program that `python3 -c` gets: finds, verifies and runs the rest. */
  bootstrap: string;
}

let packed: RemoteSide | undefined;

/** The Python modules of `src/remote` (`dist/remote` in the package) as one archive. */
export function remoteSide(): RemoteSide {
  if (packed) return packed;
  const directory = join(__dirname, '..', 'remote');
  const names = readdirSync(directory)
    .filter((name) => name.endsWith('.py') && name !== 'bootstrap.py')
    .sort();
  const modules = Object.fromEntries(names.map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
  const bytes = deflateSync(Buffer.from(JSON.stringify({ format: 1, modules })), { level: 9 });
  const bootstrap = readFileSync(join(directory, 'bootstrap.py'), 'utf8');
  packed = { bytes, sha256: createHash('sha256').update(bytes).digest('hex'), bootstrap };
  return packed;
}
