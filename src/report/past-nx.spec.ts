import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { transpileModule, ModuleKind } from 'typescript';

const TASK = `
const { PastNx } = require('./past-nx.js');
const pastNx = new PastNx(process.argv[2] === 'silent');
pastNx.write('detached\\n', 1);
console.log('detached');
pastNx.settle();
`;
/** As Nx after a signal: it reads what its task prints, and passes that on or not. */
const NX = `
const { fork } = require('node:child_process');
const [signal, output] = process.argv.slice(2);
const stdio = output === 'shared' ? 'inherit' : 'pipe';
const task = fork(require.resolve('./task.js'), [signal], { stdio: ['ignore', stdio, 'inherit', 'ipc'] });
process.stdout.on('error', () => undefined).write('begun\\n');
task.stdout?.on('data', (text) => output === 'prints' && process.stdout.write('model: ' + text));
task.once('exit', (code) => (process.exitCode = code));
`;

const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('what a task writes past Nx', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-past-'));
  beforeAll(() => {
    const source = readFileSync(join(__dirname, 'past-nx.ts'), 'utf8');
    const { outputText } = transpileModule(source, { compilerOptions: { module: ModuleKind.CommonJS } });
    const files = { 'past-nx.js': outputText, 'task.js': TASK, 'nx.js': NX };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const printed = (command: string) => {
    const output = execFileSync('sh', ['-c', command], { cwd: directory, encoding: 'utf8', input: '' });
    return output.trim().split('\n').sort();
  };

  it.each([
    ['at once to a file, after SIGINT', 'node nx.js silent > out; cat out'],
    ['at once to a file that is appended to', 'node nx.js silent >> more; cat more'],
    ['at once to a pipe', 'node nx.js silent | cat'],
    ['to a file that does not get it from Nx, after SIGTERM', 'node nx.js unknown > later; cat later'],
  ])('is written %s', (_where, command) => {
    expect(printed(command)).toEqual(['begun', 'detached']);
  });

  it('is not written again if Nx still prints it', () => {
    expect(printed('node nx.js unknown prints > passed; cat passed')).toEqual(['begun', 'model: detached']);
  });

  it('is not written if the task prints to that output itself', () => {
    expect(printed('node nx.js silent shared > same; cat same')).toEqual(['begun', 'detached']);
  });

  it.each(['silent', 'unknown'])('is dropped if nothing can be written: %s', (signal) => {
    expect(printed(`node nx.js ${signal} > /dev/full; echo $?`)).toEqual(['0']);
  });
});
