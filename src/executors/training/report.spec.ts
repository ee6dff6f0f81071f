import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Workshop } from '../lib/executor-harness.fixture';

describe('train.report', () => {
  let shop: Workshop;
  beforeAll(async () => void (shop = await Workshop.open()));
  afterAll(() => shop.close());

  const file = () => join(shop.workspace, 'model/artifacts/report.html');
  const options = (exitCode: number, report = true) => {
    const lines = ['import os', 'os.makedirs("out", exist_ok=True)', 'open("out/model", "w").write("x")'];
    shop.write('model/train.py', [...lines, 'print("step 3 | loss 0.5")', `raise SystemExit(${exitCode})`].join('\n'));
    return { train: { script: 'train.py', environment: 'none', outputs: ['out'], report } };
  };
  const title = () => /<title>Training ([^<]*)/.exec(readFileSync(file(), 'utf8'))![1];

  it('writes the report of a training that succeeded and of one that failed, also for a target that Nx caches', async () => {
    await shop.run('remote-train', options(0, false));
    expect(existsSync(file())).toBe(false);
    const { run } = await shop.run<{ run: string }>('remote-train', { ...options(0), rerun: true, cache: true });
    expect(shop.printed).toContain('Report: model/artifacts/report.html\n');
    expect(title()).toBe(run);
    await expect(shop.run('remote-train', options(3))).rejects.toThrow(/exited with 3/);
    const failed = title();
    expect(failed).not.toBe(run);
    expect(readFileSync(file(), 'utf8')).toContain('exited with 3');

    rmSync(file());
    await shop.run('remote-pull', { ...options(3), path: 'out/**', overwrite: true });
    expect(existsSync(file())).toBe(false);
    await shop.run('remote-pull', { ...options(3), run, output: '../pulled' });
    expect(existsSync(file())).toBe(false);
    expect(readFileSync(join(shop.workspace, 'pulled/artifacts/report.html'), 'utf8')).toContain(run);
  });
});
