import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Where scripts/test/interop.mjs installs other people's programs. */
const bin = join(__dirname, '../../.cache/interop/bin');

/** The Python that has boto3 and moto, or null where they could not be installed. */
export function interopPython(): string | null {
  const python = join(bin, 'python');
  return existsSync(join(bin, '../complete')) && existsSync(python) ? python : null;
}

/** A program by name: installed for the interoperability tests, or on the PATH. */
export function program(name: string): string | null {
  if (interopPython() && existsSync(join(bin, name))) return join(bin, name);
  const found = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim();
  return found && spawnSync(found, ['--version']).status === 0 ? found : null;
}

/** The directory that uv is in. */
export function uvDirectory(): string | null {
  const uv = program('uv');
  return uv && dirname(realpathSync(uv));
}
