import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LookBudget } from './look-budget';

describe('the budget of polls that all commands share', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'nx-ec2-looks-'))));
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  const NOW = Date.now() + 1_000;
  const several = (count: number) => Array.from({ length: count }, () => new LookBudget(directory));

  it('lets a few commands poll at full pace, and divides that pace among more', () => {
    const few = several(4);
    expect(few.map((each) => each.factor(NOW))).toEqual([1, 1, 1, 1]);
    const more = several(16);
    expect(more.at(-1)!.factor(NOW)).toBe(5);
    // The first learn of it within a second, and of the end of the others.
    expect(few[0].factor(NOW + 500)).toBe(1);
    expect(few[0].factor(NOW + 1_000)).toBe(5);
    for (const each of more) each.close();
    expect(few[0].factor(NOW + 2_000)).toBe(1);
  });

  it('does not count a follower that was killed', () => {
    const [alive] = several(20);
    expect(alive.factor(NOW)).toBe(5);
    expect(alive.factor(NOW + 60_000)).toBe(1);
    expect(readdirSync(directory)).toHaveLength(1);
  });

  it('slows all commands down for some time after one was throttled, and more after each time', () => {
    const [one, other] = several(2);
    one.throttled(NOW);
    expect(other.factor(NOW)).toBe(4);
    expect(other.factor(NOW + 31_000)).toBe(1);
    for (let again = 0; again < 4; again++) one.throttled(NOW);
    expect(one.factor(NOW + 31_000)).toBe(32);
    for (let answers = 0; answers < 40; answers++) one.answered();
    expect(one.factor(NOW + 32_000)).toBe(1);
  });

  it('ignores files with a time in the future, after the clock was set back', () => {
    const [alive] = several(20);
    alive.throttled(NOW);
    expect(alive.factor(NOW)).toBe(20);
    const back = NOW - 86_400_000;
    for (let answers = 0; answers < 10; answers++) alive.answered();
    expect(alive.factor(back)).toBe(1);
    expect(statSync(directory).mode & 0o077).toBe(0);
  });

  it("counts only itself if its directory can't be used", () => {
    writeFileSync(join(directory, 'file'), '');
    const budget = new LookBudget(join(directory, 'file'));
    expect(budget.factor()).toBe(1);
    budget.throttled();
    budget.close();
  });
});
