import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** One scenario of `npm run bench` on a handful of files: that it runs to its end and says what it must, not how fast. */
it('measures nx-ec2, other programs and the shortest possible time', () => {
  const root = join(__dirname, '..');
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-smoke-'));
  const json = join(directory, 'results.json');
  execFileSync(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', join(root, 'bench')]);
  const args = ['--scale', '0.01', '--only', 'first,unchanged', '--with', 'rsync', '--json', json];
  const out = execFileSync(process.execPath, [join(root, '.cache/bench/js/bench/main.js'), ...args], {
    encoding: 'utf8',
  });
  expect(out).toMatch(/^\| 20 source files, 200 KB: first time \| nx-ec2 \| .* \| [\d.]+ \| .* KB \| \d+ \|$/m);
  // Not on every machine; what is not there is named, not left out.
  expect(out).toMatch(/^\| {2}\| rsync \| ([\d.]+ m?s \| |absent: rsync is not installed \|)/m);
  const { results } = JSON.parse(readFileSync(json, 'utf8'));
  expect(results.map(({ name }: { name: string }) => name)).toEqual(['first', 'unchanged']);
  const [first, unchanged] = results.map(
    ({ rows }: { rows: { measure: Record<string, number> }[] }) => rows[0].measure,
  );
  expect(first.commands).toBe(1);
  expect(first.stored).toBeGreaterThan(1_000);
  expect(unchanged.commands).toBe(1);
  // The plan, unless it went with the command.
  expect(unchanged.stored).toBeLessThan(4_096);
  expect(unchanged.time).toBeGreaterThan(480);
  rmSync(directory, { recursive: true });
});
