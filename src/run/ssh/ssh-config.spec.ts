import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { addInclude } from './include';
import { hostBlock, includeLine } from './ssh-config';
import { createKey, filesBeside, filesOf, publicKeyOf } from './ssh-host';

const hasSsh = spawnSync('ssh', ['-V']).status === 0;
const withSsh = hasSsh ? it : it.skip;

/** What ssh reads from a configuration. */
function read(config: string, host: string): Record<string, string> {
  const lines = execFileSync('ssh', ['-G', '-F', config, host], { encoding: 'utf8', stdio: 'pipe' }).split('\n');
  return Object.fromEntries(lines.map((line) => [line.split(' ')[0], line.slice(line.indexOf(' ') + 1)]));
}

describe('the configuration of a host', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'nx-ec2-ssh-'))));
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const piece = fc
    .string({ unit: fc.constantFrom(...`aZ09 ._-~%'#$&;()=,@+!é`), minLength: 1, maxLength: 12 })
    .filter((text) => !/^ | $|^\.+$/.test(text) && !text.includes('${'));

  withSsh('gives ssh and its shell each path as it is', () => {
    fc.assert(
      fc.property(piece, piece, (first, second) => {
        const root = `/${first}/${second}`;
        const files = filesOf('box', root);
        const proxy = ['printf', '%s|', `${root}/node`, `${root}/it's.js`, files.host];
        const config = join(directory, 'config');
        writeFileSync(config, hostBlock({ name: 'box', user: 'ubuntu', files, proxy }));
        const known = read(config, 'box');
        expect(known.user).toBe('ubuntu');
        expect(known.stricthostkeychecking).toMatch(/^(true|yes)$/);
        // Some versions print a path with its tokens replaced.
        for (const [printed, path] of [
          [known.identityfile, files.key],
          [known.userknownhostsfile, files.knownHosts],
        ])
          expect([printed, printed.replaceAll('%%', '%')]).toContain(path);
        const command = known.proxycommand.replaceAll('%%', '%');
        expect(execFileSync('sh', ['-c', command], { encoding: 'utf8' })).toBe(`${proxy.slice(2).join('|')}|`);
      }),
      { numRuns: 60 },
    );
  });

  withSsh('is found through the line that includes it', () => {
    const hosts = join(directory, "it's here");
    mkdirSync(hosts);
    const files = filesOf('box', hosts);
    writeFileSync(files.config, hostBlock({ name: 'box', user: 'ubuntu', files, proxy: ['true'] }));
    const config = join(directory, 'config');
    writeFileSync(config, 'Host *\n  User other\n');
    expect(addInclude(config, includeLine(hosts))).toBe(true);
    expect(read(config, 'box').user).toBe('ubuntu');
    expect(read(config, 'elsewhere').user).toBe('other');
  });

  it.each(['a\nb', 'a"b', 'a\\b', 'a${HOME}b', 'a\0b'])('refuses a path that ssh would read otherwise: %j', (text) => {
    const files = filesOf('box', `/${text}`);
    expect(() => hostBlock({ name: 'box', user: 'u', files, proxy: [] })).toThrow(/can't hold/);
  });

  it.each(['/a*b', '/a[b]', '/a?b', '/a{b,c}', '/a%b', '/a$b'])('refuses to include the pattern %s', (text) =>
    expect(() => includeLine(text)).toThrow(/can't hold/),
  );

  it.each(['', '*', 'a b', '!a', '../a', '-a', 'a\nHost *', 'a,b', '.a'])('refuses the name %j', (name) =>
    expect(() => filesOf(name)).toThrow(/can't be the name of a host/),
  );

  withSsh('has one key, for its owner only', () => {
    const { key } = filesBeside(join(directory, 'box', 'host.json'));
    createKey(key);
    const first = publicKeyOf(key);
    createKey(key);
    expect(first).toMatch(/^ssh-ed25519 [\w+/=]+/);
    expect(publicKeyOf(key)).toBe(first);
    expect(statSync(key).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(directory, 'box'))).toEqual(['key']);
  });
});

describe('the line in ~/.ssh/config', () => {
  const LINE = 'Include "/cache/ssh/*.conf"';
  let home: string;
  let config: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'nx-ec2-ssh-'));
    config = join(home, '.ssh', 'config');
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  it('makes the file where there is none', () => {
    expect(addInclude(config, LINE)).toBe(true);
    expect(readFileSync(config, 'utf8')).toBe(`${LINE}\n`);
    expect([statSync(config), statSync(join(home, '.ssh'))].map(({ mode }) => mode & 0o777)).toEqual([0o600, 0o700]);
    expect(addInclude(config, LINE)).toBe(false);
  });

  it.each(['', '\n', 'Host a\n  User b', 'Host a\r\n  User b\r\n', '\xff\xfe\0', '\ufeffHost a\n'])(
    'keeps each byte and the mode of a file, and is added once: %j',
    (text) => {
      mkdirSync(join(home, '.ssh'));
      writeFileSync(config, text, 'latin1');
      const before = readFileSync(config);
      chmodSync(config, 0o640);
      expect(addInclude(config, LINE)).toBe(true);
      const after = readFileSync(config);
      expect(after.subarray(0, LINE.length + 1).toString()).toBe(`${LINE}\n`);
      expect(after.subarray(after.length - before.length).equals(before)).toBe(true);
      expect(statSync(config).mode & 0o777).toBe(0o640);
      expect(addInclude(config, LINE)).toBe(false);
      expect(readFileSync(config).equals(after)).toBe(true);
      expect(readdirSync(join(home, '.ssh'))).toEqual(['config']);
    },
  );

  it('does not count where it is of one host only', () => {
    mkdirSync(join(home, '.ssh'));
    writeFileSync(config, `Host a\n  ${LINE}\n`);
    expect(addInclude(config, LINE)).toBe(true);
    writeFileSync(config, `# mine\n\n${LINE}\nMatch all\n`);
    expect(addInclude(config, LINE)).toBe(false);
  });

  it('goes into the file that links lead to, which stay links', () => {
    mkdirSync(join(home, '.ssh'));
    mkdirSync(join(home, 'dotfiles'));
    symlinkSync('../dotfiles/ssh', config);
    expect(addInclude(config, LINE)).toBe(true);
    writeFileSync(join(home, 'dotfiles', 'ssh'), 'Host a\n');
    expect(addInclude(config, LINE)).toBe(true);
    expect(readFileSync(join(home, 'dotfiles', 'ssh'), 'utf8')).toBe(`${LINE}\n\nHost a\n`);
    expect(readdirSync(join(home, '.ssh'))).toEqual(['config']);
    expect(addInclude(config, LINE)).toBe(false);
  });

  it('leaves what is no file, and a circle of links', () => {
    mkdirSync(config, { recursive: true });
    expect(() => addInclude(config, LINE)).toThrow(/is not a file/);
    rmSync(config, { recursive: true });
    symlinkSync('config', config);
    expect(() => addInclude(config, LINE)).toThrow(/circle/);
  });
});
