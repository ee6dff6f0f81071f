import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MissedPlans } from './missed-plans';

describe('MissedPlans', () => {
  const MINUTE = 60_000;
  let directory: string;
  let waits: MissedPlans;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-missed-'));
    waits = new MissedPlans(directory, 'bucket');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('expects the next plan to be missed for ten minutes, for the same tree, instance and bucket alone', () => {
    expect(waits.isExpected('tree', ['i-1'], 0)).toBe(false);
    waits.add('tree', ['i-1'], 0);
    expect(waits.isExpected('tree', ['i-1', 'i-2'], 9 * MINUTE)).toBe(true);
    expect(waits.isExpected('tree', ['i-1'], 10 * MINUTE)).toBe(false);
    expect(waits.isExpected('tree', ['i-2'], 0)).toBe(false);
    expect(waits.isExpected('other', ['i-1'], 0)).toBe(false);
    expect(new MissedPlans(directory, 'other').isExpected('tree', ['i-1'], 0)).toBe(false);
    expect(new MissedPlans(directory, 'bucket').isExpected('tree', ['i-1'], 0)).toBe(true);
  });

  it('expects it for longer each time in a row, up to a day, and forgets it after one that was not', () => {
    const minutes: number[] = [];
    for (let time = 0; time < 10; time++) {
      waits.add('tree', ['i-1'], 0);
      let minute = 10;
      while (waits.isExpected('tree', ['i-1'], minute * MINUTE)) minute += 10;
      minutes.push(minute);
    }
    expect(minutes).toEqual([10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
    waits.remove('tree', 'i-1');
    expect(waits.isExpected('tree', ['i-1'], 0)).toBe(false);
    waits.add('tree', ['i-1'], 0);
    expect(waits.isExpected('tree', ['i-1'], 10 * MINUTE)).toBe(false);
  });

  it('expects nothing where the clock was set back, its file is damaged, or nothing is remembered', () => {
    waits.add('tree', ['i-1'], 100 * MINUTE);
    expect(waits.isExpected('tree', ['i-1'], 0)).toBe(false);
    const [file] = readdirSync(directory);
    writeFileSync(join(directory, file), '{"v":1,"since":0,"pause":');
    expect(waits.isExpected('tree', ['i-1'], 0)).toBe(false);
    const none = new MissedPlans(undefined, 'bucket');
    none.add('tree', ['i-1'], 0);
    none.remove('tree', 'i-1');
    expect(none.isExpected('tree', ['i-1'], 0)).toBe(false);
  });
});
