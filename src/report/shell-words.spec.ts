import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import * as ts from 'typescript';
import { hostileText } from './hostile-text.fixture';
import { Problem } from './problem';
import { commandLine, nxRun, shellWord } from './shell-words';
import { sanitizeForTerminal } from './terminal-text';

/** The words that bash makes of command lines, in one process. */
function readByShell(lines: readonly string[]): string[][] {
  const script = lines.map((line) => `printf '%s\\0' ${line}; printf '\\1\\0'`).join('\n');
  const out = execFileSync('bash', ['--norc', '-c', script], {
    maxBuffer: 64 * 1024 * 1024,
    cwd: '/',
    env: {},
  }).toString();
  return out
    .split('\x01\0')
    .slice(0, -1)
    .map((each) => each.split('\0').slice(0, -1));
}

describe('a command line that a message suggests', () => {
  it('leaves a word unquoted if it means nothing special to a shell', () => {
    expect(nxRun('@acme/model', 'remote-cancel', '--run=20261129-080000-0123abcd')).toBe(
      'nx run @acme/model:remote-cancel --run=20261129-080000-0123abcd',
    );
    expect(shellWord('')).toBe("''");
    expect(shellWord("it's")).toBe(`'it'\\''s'`);
  });

  const parts = fc.constantFrom(
    ...["'", "\\'", '$(touch /tmp/x)', '`id`', '; rm -rf ~', '&&', '\n', '\r', '\x1b]0;', '\x07', '\x1b[2K', '\x9b'],
    ...['::set-env ', '##[', '##vso[', '\u202e', '\u200b', '\ud800', '!', '#', '~', '*', '{a,b}', '\\x27', '1'],
  );
  const text = fc.array(fc.oneof(parts, hostileText), { maxLength: 8 }).map((all) => all.join(''));

  it('is read by a shell as the intended words, whoever wrote them, also after it was printed', () => {
    fc.assert(
      fc.property(fc.array(fc.array(text, { minLength: 1, maxLength: 3 }), { minLength: 20, maxLength: 20 }), (all) => {
        const lines = all.map((words) => commandLine(...words));
        for (const line of lines) expect(sanitizeForTerminal(line)).toBe(line);
        const meant = all.map((words) => words.map((word) => Buffer.from(word.replaceAll('\0', '')).toString()));
        // The two bytes that the test itself separates by.
        fc.pre(!meant.flat().some((word) => word.includes('\x01')));
        expect(readByShell(lines)).toEqual(meant);
      }),
      { numRuns: 30 },
    );
  });

  it('stays whole in an error', () => {
    const run = `r'\x1b]0; --x='; touch /tmp/owned; '\x07`;
    const { message } = new Problem('RUN_ACTIVE', 'what', { next: nxRun('a b', 'remote-cancel', `--run=${run}`) });
    expect(readByShell([message.split('\n')[1]])).toEqual([['nx', 'run', 'a b:remote-cancel', `--run=${run}`]]);
  });
});

/** What a template puts in after the beginning of a command, and how it is written. */
function unquoted(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  if (!/(?:nx run|nx g|npx nx-ec2|aws [a-z0-9]+) [^`]*\$\{/.test(text)) return [];
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isTemplateExpression(node)) {
      let before = node.head.text;
      for (const { expression, literal } of node.templateSpans) {
        const isCommand = /\b(?:nx run|nx g|npx nx-ec2|aws [a-z0-9]+) (?:[^.:()\n]|\S[.:]\S)*$/.test(before);
        if (isCommand && !/^(?:shellWord|commandLine|nxRun|instancesList)\(/.test(expression.getText()))
          found.push(`${path}: …${before.slice(-40)}\${${expression.getText()}}`);
        before += `\${}${literal.text}`;
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

it('every place of the client that prints a command quotes what it puts into it', () => {
  const root = join(__dirname, '..');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (path) => /(?<!\.(?:spec|fixture|d))\.ts$/.test(path) && !/^(?:local-aws\/|report\/shell-words)/.test(path),
  );
  expect(files.length).toBeGreaterThan(300);
  expect(files.flatMap((path) => unquoted(join(root, path)))).toEqual([]);
});
