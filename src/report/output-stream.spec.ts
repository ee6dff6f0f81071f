import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { transpileModule, ModuleKind } from 'typescript';

const LINES = 40_000;
const PROGRAM = `
const { drained } = require('./output-stream.js');
(async () => {
  for (let line = 0; line < ${LINES}; line++) process.stdout.write('line ' + line + '\\n');
  if (process.argv[2] === 'drained') await drained(process.stdout);
  process.exit(0);
})();
`;

/** As Nx runs an executor: its output is a pipe, and the process ends as soon as the executor has returned. */
describe('the output of a process that ends', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-output-'));
  beforeAll(() => {
    const source = readFileSync(join(__dirname, 'output-stream.ts'), 'utf8');
    const { outputText } = transpileModule(source, { compilerOptions: { module: ModuleKind.CommonJS } });
    writeFileSync(join(directory, 'output-stream.js'), outputText);
    writeFileSync(join(directory, 'program.js'), PROGRAM);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** The last line that comes, where the reader begins to read once the process has written what it can. */
  const lastLine = async (how: string): Promise<string> => {
    const child = fork(join(directory, 'program.js'), [how], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    const parts: Buffer[] = [];
    const ended = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => child.stdout!.once('readable', resolve));
    const left = how === 'drained' ? undefined : new Promise((resolve) => child.once('exit', resolve));
    await left;
    child.stdout!.on('data', (data: Buffer) => parts.push(data)).resume();
    await ended;
    return Buffer.concat(parts).toString().trimEnd().split('\n').at(-1)!;
  };

  it('reaches a slow reader completely only if the process waits for it', async () => {
    expect(await lastLine('drained')).toBe(`line ${LINES - 1}`);
    expect(await lastLine('left')).not.toBe(`line ${LINES - 1}`);
  });

  it('is not waited for if the reader has left', async () => {
    const child = fork(join(directory, 'program.js'), ['drained'], { stdio: ['ignore', 'pipe', 'ignore', 'ipc'] });
    child.stdout!.destroy();
    await new Promise((resolve) => child.once('exit', resolve));
    expect(child.exitCode).not.toBeNull();
  });
});
