import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Printer } from '../../report/printer';
import { StoreFixture } from '../../store/store.fixture';
import { putRecord, recordOf, RUN } from '../record/saved-run.fixture';
import { REPORT, writeReport } from './write-report';

describe('the report of a run, among its artifacts', () => {
  let at: StoreFixture;
  let root: string;
  let printed: string;
  const record = recordOf({ artifacts: null });
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(async () => {
    await at.empty();
    await putRecord(at.store, at.keys(), record);
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-report-'));
    printed = '';
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const write = (signal = new AbortController().signal) => {
    const take = (text: string) => ((printed += text), true);
    const stdout = { write: take, on: () => stdout, writableLength: 0 };
    const printer = new Printer({ stdout: stdout as never });
    return writeReport({ store: at.store, keys: at.keys(), printer, workspaceRoot: root }, record, root, signal);
  };
  const read = () => readFileSync(join(root, REPORT), 'utf8');

  it('is written, and replaces the one before', async () => {
    expect(await write()).toBe(REPORT);
    expect(read()).toContain(`<title>Training ${RUN}</title>`);
    writeFileSync(join(root, REPORT), read().replace(RUN, 'an earlier run'));
    expect(await write()).toBe(REPORT);
    expect(read()).not.toContain('an earlier run');
    expect(readdirSync(root)).toEqual(['artifacts']);
    expect(readdirSync(join(root, 'artifacts'))).toEqual(['report.html']);
    expect(printed).toContain(`Report: ${REPORT}\n`);
  });

  it.each([
    [
      'another file is there',
      () => writeFileSync(join(root, REPORT), '<html>mine</html>'),
      /another file is at this path/,
    ],
    ['a directory is there', () => mkdirSync(join(root, REPORT)), /something else is at this path/],
    ['its place is a link', () => symlinkSync('/etc/hosts', join(root, REPORT)), /is a symbolic link/],
    [
      'git tracks it',
      () => {
        writeFileSync(join(root, REPORT), 'x');
        const git = (...args: string[]) => execFileSync('git', args, { cwd: root });
        git('init', '-q');
        git('add', '-A');
      },
      /git tracks the file at this path/,
    ],
  ])('is not written where %s, which is said', async (_name, prepare, message) => {
    mkdirSync(join(root, 'artifacts'));
    prepare();
    expect(await write()).toBeNull();
    expect(printed).toMatch(/^warning: artifacts\/report\.html was not written: /);
    expect(printed).toMatch(message);
    expect(readdirSync(join(root, 'artifacts'))).toEqual(['report.html']);
  });

  it('is not written through a linked directory, and fails nothing where the store does not answer', async () => {
    const other = mkdtempSync(join(tmpdir(), 'nx-ec2-report-'));
    symlinkSync(other, join(root, 'artifacts'));
    expect(await write()).toBeNull();
    expect(readdirSync(other)).toEqual([]);
    rmSync(other, { recursive: true });
    rmSync(join(root, 'artifacts'));
    const get = jest.spyOn(at.store, 'get').mockRejectedValue(new Error('no store\x1b[2J'));
    const segments = { ...record, metrics: { ...record.metrics, segments: 1 } };
    printed = '';
    const printer = new Printer({
      stdout: { write: (text: string) => ((printed += text), true), on: () => {} } as never,
    });
    const { signal } = new AbortController();
    expect(
      await writeReport({ store: at.store, keys: at.keys(), printer, workspaceRoot: root }, segments, root, signal),
    ).toBeNull();
    get.mockRestore();
    expect(printed).toMatch(/was not written: no store/);
    expect(printed).not.toContain('\x1b');
  });

  it('is given up when the command is interrupted', async () => {
    const leave = new AbortController();
    leave.abort(new Error('left'));
    await expect(write(leave.signal)).rejects.toThrow('left');
    expect(readdirSync(root)).toEqual([]);
  });
});
