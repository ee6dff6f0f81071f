import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { LocalAws } from '../local-aws/types';

/** What the program sees: `given`, and the runtime's failures as `{"failure": <code>, …}`. It sets `answer`. */
const AROUND = (program: string) => `
import json, sys
from nx_ec2_runtime.system.errors import Failure
given = json.load(sys.stdin)
answer = None
try:
${program.replace(/^/gm, '    ')}
except Failure as failure:
    answer = {"failure": failure.code, "message": failure.message, **failure.detail}
print(json.dumps(answer))
`;

/**
 * Runs a program with the modules of the runtime, as a process of an instance would: it knows its metadata service
 * and no credentials.
 */
export async function onInstance<T = unknown>(
  aws: LocalAws,
  instance: string,
  program: string,
  given: unknown = {},
  env: Record<string, string> = {},
): Promise<T> {
  const home = mkdtempSync(join(tmpdir(), 'nx-ec2-python-'));
  try {
    symlinkSync(join(__dirname, '../runtime'), join(home, 'nx_ec2_runtime'));
    const child = spawn('python3', ['-B', '-c', AROUND(program)], {
      env: {
        PATH: process.env.PATH,
        PYTHONPATH: home,
        AWS_EC2_METADATA_SERVICE_ENDPOINT: aws.instances.metadataUrl(instance),
        ...env,
      },
    });
    child.stdin.end(JSON.stringify(given));
    const [out, error, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    if (code !== 0) throw new Error(error);
    return JSON.parse(out) as T;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
