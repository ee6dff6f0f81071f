import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as RunState from './run-state';

describe('the local state of a run', () => {
  const before = process.env.NX_EC2_CACHE_DIRECTORY;
  let directory: string;
  beforeEach(() => (process.env.NX_EC2_CACHE_DIRECTORY = directory = mkdtempSync(join(tmpdir(), 'nx-ec2-runs-'))));
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
    if (before === undefined) delete process.env.NX_EC2_CACHE_DIRECTORY;
    else process.env.NX_EC2_CACHE_DIRECTORY = before;
  });

  it('is removed by a later process if it was not written for 180 days', () => {
    // Another process: what was swept is remembered for each.
    const anotherProcess = () => {
      jest.resetModules();
      return jest.requireActual<typeof RunState>('./run-state');
    };
    const { writeRunState } = anotherProcess();
    const files: Record<string, string> = {};
    for (const run of ['old', 'young', 'newest']) {
      const there = existsSync(join(directory, 'runs')) ? readdirSync(join(directory, 'runs')) : [];
      writeRunState(['s', 'p', run], { secret: Buffer.alloc(32, 1), seen: [1, 2] });
      files[run] = readdirSync(join(directory, 'runs')).find((name) => !there.includes(name))!;
    }
    const days = (n: number) => new Date(Date.now() - n * 24 * 3600_000);
    utimesSync(join(directory, 'runs', files.old), days(181), days(181));
    utimesSync(join(directory, 'runs', files.young), days(179), days(179));
    const later = anotherProcess();
    later.writeRunState(['s', 'p', 'newest'], { seen: [1, 3] });
    expect(readdirSync(join(directory, 'runs')).sort()).toEqual([files.young, files.newest].sort());
    expect(later.readRunState(['s', 'p', 'old'])).toEqual({});
    expect(later.readRunState(['s', 'p', 'young']).seen).toEqual([1, 2]);
  });
});
