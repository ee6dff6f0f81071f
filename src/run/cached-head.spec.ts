import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Pipeline, startPipeline } from './pipeline.fixture';

jest.setTimeout(120_000);

describe('what this machine remembers of an instance', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => {
    at = await startPipeline();
    pipe = await new Pipeline(at, 'store').open({}, 'remote-sync');
  });
  afterAll(async () => {
    pipe.close();
    await at.close();
  });

  /** Which files they are, and when they were written. */
  const heads = () =>
    readdirSync(pipe.memory, { recursive: true })
      .map((path) => join(pipe.memory, String(path)))
      .filter((path) => /\/heads\/[^/]+$/.test(path))
      .map((path) => [path, statSync(path).ino, statSync(path).mtimeMs]);

  it('is written after a change, and not again while nothing changes', async () => {
    pipe.write('model/train.py', 'print(1)');
    await pipe.sync();
    const first = heads();
    expect(first).toHaveLength(1);
    await pipe.sync();
    expect(heads()).toEqual(first);
    pipe.write('model/train.py', 'print(2)');
    await pipe.sync();
    expect(heads()).not.toEqual(first);
    expect((await pipe.sync()).sent.files).toBe(0);
  });
});
