import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { RUNTIME_DIRECTORY } from '../../command/runtime-directory';
import { MAX_USER_DATA_BYTES, OWN_USER_DATA_BYTES, userData, type WatchdogConfig } from './user-data';
import { until } from '../../system/until.fixture';

const config: WatchdogConfig = {
  v: 1,
  root: null,
  lifetime: 86_400,
  because: 'lifetime',
  deadline: null,
  idle: 3600,
  start: 900,
  finish: { success: 0, failure: 1800 },
  shutdown: 'terminate',
  boot: null,
};

/** The parts as cloud-init reads them, with Python's own reader of mail: [type, hex of the bytes]. */
const READ = `
import email, json, sys
for line in sys.stdin:
    message = email.message_from_bytes(bytes.fromhex(line))
    parts = [each for each in message.walk() if not each.is_multipart()]
    print(json.dumps([[each.get_content_type(), each.get_payload(decode=True).hex()] for each in parts]))
`;

function partsOf(packed: Buffer[]): { type: string; text: string }[][] {
  const input = packed.map((each) => gunzipSync(each).toString('hex')).join('\n');
  const lines = execFileSync('python3', ['-c', READ], { input, encoding: 'utf8', maxBuffer: 1 << 28 });
  return lines
    .trim()
    .split('\n')
    .map((line) =>
      (JSON.parse(line) as [string, string][]).map(([type, hex]) => ({
        type,
        text: Buffer.from(hex, 'hex').toString(),
      })),
    );
}

describe('user data', () => {
  it("starts the watchdog, then the user's own user data by its first line", () => {
    const of = (own?: string) => partsOf([userData(config, own)])[0];
    expect(of().map(({ type }) => type)).toEqual(['text/cloud-boothook']);
    expect(of('#!/bin/bash\necho hi')[1]).toEqual({ type: 'text/x-shellscript', text: '#!/bin/bash\necho hi' });
    expect(of('#cloud-config\npackages: [git]\n')[1].type).toBe('text/cloud-config');
    expect(of('#cloud-config-archive\n[]\n')[1].type).toBe('text/cloud-config-archive');
    expect(of('#cloud-boothook\ntrue\n')[1].type).toBe('text/cloud-boothook');
    expect(() => userData(config, 'echo hi')).toThrow(/not one that cloud-init recognizes/);
  });

  it('is the same bytes for the same input, whatever the time and the system', () => {
    const once = userData(config, '#!/bin/sh\n');
    expect(once.equals(userData(config, '#!/bin/sh\n'))).toBe(true);
    expect(once.subarray(0, 10).toString('hex')).toBe('1f8b08000000000002ff');
  });

  it('contains any text of the user unchanged, and is ASCII', () => {
    const text = fc
      .array(
        fc.oneof(
          fc.string({ unit: 'binary', maxLength: 200 }).map((each) => each.toWellFormed()),
          fc.constantFrom(
            '\n',
            '\r\n',
            ' \n',
            '\t\n',
            '--=_nx-ec2_=',
            '\n--=_nx-ec2_=--\n',
            '=',
            '=3D',
            '.\n',
            'From ',
          ),
          fc.constantFrom("NX_EC2_WATCHDOG\n'", '$(reboot)', 'x'.repeat(2000)),
        ),
      )
      .map((pieces) => `#!${pieces.join('')}`);
    fc.assert(
      fc.property(fc.array(text, { minLength: 20, maxLength: 20 }), (texts) => {
        const packed = texts.map((own) => userData(config, own));
        for (const each of packed)
          expect(gunzipSync(each).every((byte) => byte === 10 || byte === 9 || (byte > 31 && byte < 127))).toBe(true);
        expect(partsOf(packed).map((parts) => parts[1].text)).toEqual(texts);
      }),
      { numRuns: 15 },
    );
  });

  it('passes the configuration through the shell unchanged', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        const root = `/${name.toWellFormed()}`;
        const [{ text }] = partsOf([userData({ ...config, root })])[0];
        const word = /^config=([A-Za-z0-9+/=]+)$/m.exec(text)![1];
        expect(JSON.parse(inflateSync(Buffer.from(word, 'base64')).toString())).toEqual({ ...config, root });
      }),
      { numRuns: 10 },
    );
  });

  it('says by how much it is too large, and has room for any accepted configuration', () => {
    const noise = Array.from({ length: 400 }, (_, at) => hash('sha256', String(at), 'base64')).join('');
    expect(() => userData(config, `#!/bin/sh\n: ${noise}`)).toThrow(
      /The user data is \d+ bytes too large: EC2 takes 16384/,
    );
    expect(userData(config).length).toBeLessThan(MAX_USER_DATA_BYTES - 6 * OWN_USER_DATA_BYTES);
    // With what starts the run of a fleet at the boot: names as long as they can be, and a key that does not compress.
    const place = { bucket: 'b'.repeat(63), region: 'ap-southeast-1', endpoint: null, pathStyle: false, owner: null };
    const objectKey = `${'prefix/'.repeat(20)}v2/projects/project/run/20260101-000000-p-aaaaaa/boot/${randomBytes(32).toString('hex')}`;
    const encryptionKey = randomBytes(32).toString('base64');
    const boot = { ...place, objectKey, sha256: randomBytes(32).toString('hex'), encryptionKey };
    expect(userData({ ...config, boot }).length).toBeLessThan(MAX_USER_DATA_BYTES - OWN_USER_DATA_BYTES);
    const own = `#!/bin/sh\n: ${noise.slice(0, OWN_USER_DATA_BYTES)}`;
    expect(userData({ ...config, boot }, own).length).toBeLessThan(MAX_USER_DATA_BYTES);
  });

  describe('on a machine', () => {
    const home = mkdtempSync(join(tmpdir(), 'nx-ec2-hook-'));
    const bin = join(home, 'bin');
    afterAll(() => rmSync(home, { recursive: true }));
    const said = () => (existsSync(join(home, 'said')) ? readFileSync(join(home, 'said'), 'utf8') : '');
    const put = (name: string, script: string) =>
      writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    /** The hook with a machine's directories below `home`, and programs that only say that they were called. */
    const hook = () => {
      rmSync(home, { recursive: true });
      for (const each of ['bin', 'run/systemd/system']) mkdirSync(join(home, each), { recursive: true });
      for (const name of ['systemctl', 'shutdown', 'poweroff']) put(name, `echo "${name} $*" >>"${home}/said"`);
      for (const name of ['cat', 'mkdir', 'sleep']) put(name, `PATH=/bin:/usr/bin exec ${name} "$@"`);
      const [{ text }] = partsOf([userData({ ...config, root: join(home, 'root'), lifetime: 90 })])[0];
      return text.replace(/^PATH=.*$/m, `PATH='${bin}'`).replaceAll('/run/', `${home}/run/`);
    };
    const python = () =>
      symlinkSync(
        execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim(),
        join(bin, 'python3.9'),
      );

    it('installs a systemd unit, which restarts the watchdog', async () => {
      const script = hook();
      python();
      expect(spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8', env: {} })).toMatchObject({
        status: 0,
        stderr: '',
      });
      expect(said()).toBe('systemctl daemon-reload\nsystemctl start --no-block nx-ec2-watchdog.service\n');
      const unit = readFileSync(join(home, 'run/systemd/system/nx-ec2-watchdog.service'), 'utf8');
      expect(unit).toMatch(/^Restart=always$/m);
      const [, line] = /^ExecStart=(.*)$/m.exec(unit)!;
      const [file, ...words] = line.split(' ');
      // As an instance's that is gone, it could shut down nothing but what is in its own directory.
      const local = { NX_EC2_LOCAL_INSTANCE: 'i-hook', NX_EC2_LOCAL_BOOT: String(Date.now()), NX_EC2_LOCAL_BIN: bin };
      const child = spawn(file, words, { env: local, stdio: 'ignore' });
      await until(() => said().includes('shutdown -h +12'));
      child.kill();
      await once(child, 'exit');
      const kept = JSON.parse(readFileSync(join(home, 'root/watchdog/config.json'), 'utf8')) as WatchdogConfig;
      expect(kept.lifetime).toBe(90);
    });

    it("uses the system's own shutdown timer if there is no Python", async () => {
      const script = hook();
      put('python3', 'exit 1');
      const run = spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8', env: {} });
      expect(run).toMatchObject({ status: 0, stderr: '' });
      await until(() => said() === 'shutdown -h +12\n');
    });
  });

  it('contains the modules of the watchdog, unchanged in meaning, and all that they import', () => {
    const place = { bucket: 'b', region: 'r', endpoint: null, pathStyle: false, owner: null, objectKey: 'k' };
    const boot = { ...place, sha256: '0'.repeat(64), encryptionKey: '' };
    const [{ text }] = partsOf([userData({ ...config, boot })])[0];
    const carried = [...text.matchAll(/^"nx_ec2_runtime\.([\w.]+)": r'''([\s\S]*?)''',$/gm)];
    const names = carried.map(([, name]) => name.replaceAll('.', '/'));
    const sources = names.map((name) => readFileSync(join(RUNTIME_DIRECTORY, `${name}.py`), 'utf8'));
    const compare = `
import ast, json, sys
for before, after in json.load(sys.stdin):
    assert ast.dump(ast.parse(before)) == ast.dump(ast.parse(after)), before[:80]
`;
    const input = JSON.stringify(sources.map((source, at) => [source, carried[at][2]]));
    expect(spawnSync('python3', ['-c', compare], { input, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
    const imported = sources.flatMap((source, at) =>
      [...source.matchAll(/^ *from (\.+)([\w.]*) import (.*)$/gm)].flatMap(([, { length: dots }, from, list]) => {
        const room = dots === 1 ? `${names[at].split('/')[0]}/` : '';
        const within = from ? `${room}${from.replace('.', '/')}` : room.slice(0, -1);
        // Of a package, what is imported are modules.
        return within.includes('/') ? [within] : list.split(', ').map((name) => `${within}/${name.split(' ')[0]}`);
      }),
    );
    expect(imported.length).toBeGreaterThan(10);
    expect(imported.filter((name) => !names.includes(name))).toEqual([]);
    expect(names).toContain('fleet/boot_loader');
  });
});
