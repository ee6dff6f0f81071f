import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { INTERPRETERS } from '../script';
import { LastWord, shellCommand } from './shell-command';

const place = { root: null, run: null, tree: 't', project: 'p', projectRoot: 'p', user: null };

describe('the command line of a shell', () => {
  it('is one line for any sh, whatever the names in it are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (project, run) => {
        const { command } = shellCommand({ ...place, project, run });
        expect(command).toMatch(/^[\x20-\x7e]+$/);
        expect(command).not.toContain('{{');
        // Quoting is whole: what follows it is a word of its own.
        expect(command.split("'").length % 2).toBe(1);
      }),
    );
  });

  it('prints a marker of its own if there is no Python', () => {
    const { command, nonce } = shellCommand(place);
    const alone = command.replace(/^PATH="[^"]*"/, 'PATH=/nowhere');
    const word = new LastWord(nonce);
    const shown = word.take(execFileSync('/bin/sh', ['-c', alone]));
    expect([shown.toString(), word.end]).toEqual(['', { error: expect.objectContaining({ code: 'NO_PYTHON' }) }]);
  });
});

describe('the nonce of the last word', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-shell-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  // Every interpreter that the command may choose.
  const interpreter = (script: string) => {
    for (const name of INTERPRETERS.split(' '))
      writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  };
  const run = ({ command }: { command: string }) =>
    execFileSync('/bin/sh', ['-c', command], {
      env: { PATH: `${directory}:${process.env.PATH}`, NX_EC2_ROOT: join(directory, 'absent') },
      encoding: 'utf8',
    });

  it('is not in the arguments of the program, which everybody on the instance can read', () => {
    const shell = shellCommand(place);
    interpreter(
      'for each in "$@"; do printf "%s\\n" "$each"; printf %s "$each" | base64 -d 2>/dev/null; done; echo $NX_EC2_SHELL_NONCE',
    );
    const said = run(shell);
    expect(said).toContain('"project":"p"');
    expect(said.split(shell.nonce)).toEqual([expect.any(String), '\n']);
  });

  it.each([
    ['from its own environment', 'exec'],
    ['from that of sudo, which passes none on', 'env -u NX_EC2_SHELL_NONCE'],
  ])('is found by the program %s', (_where, how) => {
    const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
    // It is followed by a command, so that no shell replaces itself with it.
    interpreter(`${how} ${python} "$@"; exit $?`);
    const shell = shellCommand(place);
    const word = new LastWord(shell.nonce);
    expect(word.take(Buffer.from(run(shell))).toString()).toBe('');
    expect(word.end).toEqual({ error: expect.objectContaining({ code: 'NOTHING_SYNCED' }) });
  });
});

describe('the last word of a shell', () => {
  it('is removed, however the stream is split, and nothing else is', () => {
    const pieces = fc.array(fc.oneof(fc.string(), fc.constantFrom('\u001b', '\u001b_nx-ec2 ', '\u001b\\', '\n')));
    fc.assert(
      fc.property(pieces, fc.nat(255), fc.array(fc.nat(400)), (text, exit, cuts) => {
        const before = Buffer.from(text.join(''));
        const end = Buffer.from(JSON.stringify({ exit })).toString('base64');
        const all = Buffer.concat([before, Buffer.from(`\u001b_nx-ec2 0123456789abcdef ${end}\u001b\\`)]);
        const word = new LastWord('0123456789abcdef');
        const shown: Buffer[] = [];
        let from = 0;
        for (const cut of [...cuts.map((each) => each % all.length).sort((a, b) => a - b), all.length]) {
          shown.push(word.take(all.subarray(from, cut)));
          from = cut;
        }
        expect([Buffer.concat(shown), word.end]).toEqual([before, { exit }]);
      }),
    );
  });
});
