import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { deflateSync } from 'node:zlib';
import { RUNTIME_DIRECTORY } from './runtime-directory';

/** The runtime as it travels: docs/reference/formats.md, "Store". */
export interface RuntimeProgram {
  bytes: Buffer;
  sha256: string;
  /** The program that `python3 -c` gets: finds, verifies and runs the rest. */
  bootstrap: string;
}

let packed: RuntimeProgram | undefined;

/** The modules as the build has packed them: packing takes a while. */
const PACKED = join(RUNTIME_DIRECTORY, 'modules.z');

/** The Python modules of the runtime as one archive. */
export function runtimeProgram(): RuntimeProgram {
  if (packed) return packed;
  const bytes = existsSync(PACKED) ? readFileSync(PACKED) : packModules();
  const bootstrap = readFileSync(join(RUNTIME_DIRECTORY, 'bootstrap.py'), 'utf8');
  packed = { bytes, sha256: createHash('sha256').update(bytes).digest('hex'), bootstrap };
  return packed;
}

export function packModules(): Buffer {
  const names = readdirSync(RUNTIME_DIRECTORY, { recursive: true, encoding: 'utf8' })
    .map((path) => path.split(sep).join('/'))
    .filter((path) => path.endsWith('.py') && path !== 'bootstrap.py' && !path.startsWith('tests/'))
    .sort();
  const modules = Object.fromEntries(names.map((name) => [name, readFileSync(join(RUNTIME_DIRECTORY, name), 'utf8')]));
  return deflateSync(Buffer.from(JSON.stringify({ format: 1, modules })), { level: 9 });
}

/**
 * The words of a command line that runs one Python file of ours by itself, for a session: what it is asked for travels
 * in base64, so that nothing of it is read by a shell.
 */
export function standaloneProgram(name: 'run_dir/log_tail.py', request: object): string {
  const code = readFileSync(join(RUNTIME_DIRECTORY, name)).toString('base64');
  const start = 'import base64,sys;exec(base64.b64decode(sys.argv.pop(1)))';
  const data = Buffer.from(JSON.stringify(request)).toString('base64');
  return `python3 -I -S -B -c '${start}' ${code} ${data}`;
}
