import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = `
const numbers = [1, 2, 3].map((each) => each * 2);
module.exports = { 'cli/main': () => ({ numbers, place: __dirname, path: require('node:path').sep }) };
`;

describe('the start of an entry point', () => {
  let dist: string;
  const cache = () => readdirSync(join(dist, 'cache'));
  const start = () => JSON.parse(execFileSync(process.execPath, ['-p', SCRIPT], { cwd: dist, encoding: 'utf8' }));
  const SCRIPT = `JSON.stringify(require('./start.js')('cli/main'))`;
  const expected = () => ({ numbers: [2, 4, 6], place: dist, path: '/' });

  beforeEach(() => {
    dist = mkdtempSync(join(tmpdir(), 'nx-ec2-start-'));
    writeFileSync(join(dist, 'program.js'), PROGRAM);
    const source = readFileSync(join(__dirname, 'start.js'), 'utf8');
    writeFileSync(join(dist, 'start.js'), source.replace('@BUILD@', 'one'));
  });
  afterEach(() => rmSync(dist, { recursive: true, force: true }));

  it('keeps the compiled program, and uses it the next time', () => {
    expect(start()).toEqual(expected());
    const [name] = cache();
    expect(name).toBe(`one-${process.version}-${process.arch}-cli-main`);
    const before = readFileSync(join(dist, 'cache', name));
    expect(start()).toEqual(expected());
    expect(readFileSync(join(dist, 'cache', name))).toEqual(before);
  });

  it.each([
    ['cut off', (code: Buffer) => code.subarray(0, code.length / 2)],
    ['empty', () => Buffer.alloc(0)],
    ['changed', (code: Buffer) => Buffer.concat([code.subarray(0, -1), Buffer.from([code.at(-1)! ^ 1])])],
  ])('compiles the program if the cached one is %s, and replaces it', (_what, damage) => {
    start();
    const path = join(dist, 'cache', cache()[0]);
    const whole = readFileSync(path);
    writeFileSync(path, damage(whole));
    expect(start()).toEqual(expected());
    expect(readFileSync(path)).toHaveLength(whole.length);
  });

  it('compiles the program if nothing can be cached', () => {
    writeFileSync(join(dist, 'cache'), 'no directory');
    expect(start()).toEqual(expected());
  });

  it('compiles another build anew', () => {
    start();
    const source = readFileSync(join(__dirname, 'start.js'), 'utf8');
    writeFileSync(join(dist, 'start.js'), source.replace('@BUILD@', 'two'));
    writeFileSync(join(dist, 'program.js'), PROGRAM.replace('* 2', '* 3'));
    expect(start()).toEqual({ ...expected(), numbers: [3, 6, 9] });
    expect(cache()).toHaveLength(2);
  });

  it('leaves no other file behind', () => {
    mkdirSync(join(dist, 'cache'));
    start();
    expect(cache()).toHaveLength(1);
  });
});
