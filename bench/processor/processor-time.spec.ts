import { execFileSync } from 'node:child_process';
import { processorTime, parseStat } from './processor-time';

describe('processor time', () => {
  it('is read behind the name of a program, which may hold anything', () => {
    const stat = '7 (a) b (c) R 1 7 7 0 -1 4194304 100 200 0 0 11 22 33 44 20 0 1 0 1000';
    expect(parseStat(stat, 10)).toEqual({ own: 330, children: 770 });
  });

  (process.platform === 'linux' ? it : it.skip)('of children is counted when they have ended', () => {
    const before = processorTime(process.pid).children;
    execFileSync('python3', ['-c', 'import time\nwhile time.process_time() < 0.3: pass']);
    expect(processorTime(process.pid).children - before).toBeGreaterThanOrEqual(280);
  });
});
