import fc from 'fast-check';
import { Problem } from '../../report/problem';
import { parseRecord } from '../record/record';
import { recordOf } from '../record/saved-run.fixture';
import { describeRun, tableOfRuns } from './status';

describe('describeRun', () => {
  it('shows the warnings about the end of a run, and those about its metrics', () => {
    const record = recordOf();
    const warnings = ['The command ended and left a process running (tensorboard --port 6006); it was stopped.'];
    const text = describeRun({
      ...record,
      heard: 0,
      silent: false,
      warnings,
      metrics: { ...record.metrics, warnings: ['GPU 0 was idle'] },
    });
    expect(text.split('\n').filter((line) => line.startsWith('warning'))).toEqual([
      `warning     ${warnings[0]}`,
      'warning     GPU 0 was idle',
    ]);
  });

  it('shows every record that its schema accepts, whatever a signer has put into it', () => {
    const whole = recordOf({
      attempt: 2,
      attempts: [
        {
          n: 1,
          instance: 'i-01234567',
          startedAt: 1,
          endedAt: 2,
          exitCode: 1,
          signal: null,
          why: 'x',
          price: null,
          nodes: null,
        },
      ],
      checkpoints: [{ n: 1, unit: 'a', sha256: 'ab'.repeat(32), size: 1, files: 1, at: 1, attempt: 1 }],
    });
    const places: (string | number)[][] = [];
    const walk = (value: unknown, place: (string | number)[]) => {
      places.push(place);
      if (typeof value === 'object' && value)
        for (const [name, each] of Object.entries(value)) walk(each, [...place, name]);
    };
    walk(whole, []);
    const extreme = fc.constantFrom<unknown>(1e308, -1, 8.64e15, 8.64e15 + 1, Number.MAX_SAFE_INTEGER, 0.5);
    let shown = 0;
    fc.assert(
      fc.property(fc.constantFrom(...places.slice(1)), fc.oneof(extreme, fc.jsonValue()), (place, value) => {
        const changed = structuredClone(whole) as never as Record<string, unknown>;
        const parent = place.slice(0, -1).reduce((at, name) => at[name] as never, changed);
        parent[place.at(-1)!] = value;
        let record;
        try {
          record = parseRecord(Buffer.from(JSON.stringify(changed)), whole.id, 'record.json');
        } catch (error) {
          expect(error).toBeInstanceOf(Problem);
          return;
        }
        shown++;
        const status = { ...record, heard: 0, silent: false };
        expect(describeRun(status)).toContain(whole.id);
        expect(tableOfRuns([status], 'model')).toContain(whole.id);
      }),
      { numRuns: 400 },
    );
    expect(shown).toBeGreaterThan(20);
  });

  it('shows a record with a value that is nested beyond any stack', () => {
    const text = JSON.stringify(recordOf()).replace(
      '"configuration":{}',
      `"configuration":{"a":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`,
    );
    const record = parseRecord(Buffer.from(text), recordOf().id, 'record.json');
    expect(JSON.stringify(record.metadata.configuration)).toContain('"…"');
  });
});
