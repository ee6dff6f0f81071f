import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runtimeProgram } from './runtime-program';
import { parseReply } from './reply';
import { commandScript } from './script';

describe('commandScript', () => {
  const bin = mkdtempSync(join(tmpdir(), 'nx-ec2-script-'));
  afterAll(() => rmSync(bin, { recursive: true }));
  const real = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
  const plan = execFileSync('python3', [
    '-c',
    'import base64, sys, zlib; print(base64.b64encode(zlib.compress(sys.argv[1].encode())).decode())',
    '{"runtime":{"url":"http://127.0.0.1:9/"}}',
  ]);
  /** The script, on a PATH of its own. */
  const run = (bootstrap = runtimeProgram().bootstrap) => {
    const script = commandScript(bootstrap, { v: 1, runtime: '0'.repeat(64), plan: plan.toString().trim() });
    const own = script.replace(/^PATH=.*\n/, '');
    return spawnSync('/bin/sh', ['-c', own], { encoding: 'utf8', env: { PATH: bin, NX_EC2_ROOT: join(bin, 'root') } });
  };
  const put = (name: string, text: string) => writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });

  it('says that the instance has no Python', () => {
    const { status, stdout } = run();
    expect([status, parseReply(stdout)]).toMatchObject([1, { ok: false, error: { code: 'NO_PYTHON' } }]);
  });

  it('skips a Python that is too old, and exits as the first suitable one does', () => {
    // What an old one does with the bootstrap: its first statement.
    put('python3', 'exit 88');
    expect(parseReply(run().stdout)).toMatchObject({ error: { code: 'NO_PYTHON' } });
    symlinkSync(real, join(bin, 'python3.9'));
    const { status, stdout } = run();
    // It came as far as the runtime, which is not to be had there.
    expect([status, parseReply(stdout)]).toMatchObject([1, { error: { code: 'FETCH_FAILED' } }]);
  });

  it('checks the version before it uses anything that an old Python lacks', () => {
    expect(readFileSync(join(__dirname, '../runtime/bootstrap.py'), 'utf8')).toMatch(
      /^import sys\n\nif sys\.version_info < \(3, 8\):\n {4}sys\.exit\(88\)\n/,
    );
  });
});
