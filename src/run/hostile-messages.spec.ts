import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { remoteFailure } from '../command/remote-failure';
import { parseReply, readReply } from '../command/reply';
import { listInventory } from '../instance/inventory/listing';
import { parseLaunch } from '../instance/launch/launch-journal';
import { awsProblem } from '../aws/reason';
import { dangers, hostileText } from '../report/hostile-text.fixture';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { describeCost } from './status/cost';
import { describeDifference } from './compare/describe';
import { compareValues } from './compare/values';
import { describeOutcome, assertSucceeded } from './status/outcome';
import { parsePointer } from './artifacts/pointer';
import { parseRecord, type RunRecord } from './record/record';
import { recordOf, RUN } from './record/saved-run.fixture';
import { table } from '../report/table';
import { describeRun, tableOfRuns } from './status/status';

/** All that a record can say. */
const FULL: RunRecord = recordOf({
  outcome: 'interrupted',
  signal: 'SIGKILL',
  exitCode: null,
  stop: { reason: 'x', at: 1 },
  failure: { code: 'X', message: 'x', exitCode: null },
  takenOver: { from: 'i-0123456789abcdef0', log: 1 },
  queue: { before: 1, holders: [RUN] },
  artifacts: {
    state: 'failed',
    sha256: null,
    files: null,
    bytes: null,
    unsaved: 0,
    extra: null,
    error: { code: 'x', message: 'x', detail: { x: 'x' } },
  },
  checkpoints: [{ n: 1, unit: 'x', sha256: 'a'.repeat(64), size: 1, files: 1, at: 1, attempt: 1 }],
  datasets: [{ source: 'x', path: 'x', version: 'x', files: 1, bytes: 1 }],
  restoredFrom: { run: RUN, n: 1, unit: 'x' },
  trouble: 'x',
  metrics: {
    ...recordOf().metrics,
    warnings: ['x'],
    gpus: [{ index: 0, name: 'x', utilization: 1, memoryUsed: 1, memoryTotal: 1, temperature: 1, power: 1 }],
  },
  attempt: 2,
  metadata: {
    git: { commit: 'x', branch: 'x', dirty: true, remote: 'x' },
    command: 'x',
    recovery: 'none',
    configuration: { x: ['x', { x: 'x' }] },
    host: 'x',
    price: { perHour: 1, market: 'spot', where: 'x', date: 'x', source: 'ec2' },
  },
});

/** What has a shape of its own: another text makes that no record. */
const SHAPED =
  /^(id|runKey|tree|snapshot|instance|from|holders|run|state|outcome|sha256|market|source|recovery|access)$/;

/** The same value with other texts in it, and other names where a map has names. */
function filled(value: unknown, next: () => string, name = ''): unknown {
  if (typeof value === 'string') return SHAPED.test(name) ? value : next();
  if (Array.isArray(value)) return value.map((each) => filled(each, next, name));
  if (typeof value !== 'object' || value === null) return value;
  const isMap = /^(training|configuration|detail)$/.test(name);
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [isMap ? next() : key, filled(each, next, key)]),
  );
}

function texts(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value ? Object.entries(value).flat().flatMap(texts) : [];
}

function printed(work: (printer: Printer) => void): string {
  const pieces: string[] = [];
  const stdout = Object.assign(
    new PassThrough().on('data', (data: Buffer) => pieces.push(data.toString())),
    { isTTY: true },
  ) as unknown as NodeJS.WriteStream;
  work(new Printer({ verbose: true, stdout, stderr: stdout }));
  return pieces.join('');
}

function message(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof Problem) return error.message;
    throw error;
  }
  return '';
}

const many = fc.array(hostileText, { minLength: 8, maxLength: 8 });
const cycle = (all: string[]) => {
  let at = 0;
  return () => all[at++ % all.length];
};

describe('texts that other people and programs have written', () => {
  it('in a run record are safe to print as soon as it is read, and in all messages about it', () => {
    fc.assert(
      fc.property(many, (all) => {
        const hostile = filled(FULL, cycle(all)) as RunRecord;
        const record = parseRecord(Buffer.from(JSON.stringify(hostile)), RUN, 'key');
        for (const each of texts(record)) expect(dangers(each)).toBe('');
        const status = { ...record, warnings: record.metrics.warnings, heard: 1, silent: false };
        const said = [
          describeOutcome(record),
          describeRun(status),
          tableOfRuns([status], all[0]),
          describeCost(record) ?? '',
          message(() => assertSucceeded(record, all[0])),
        ];
        for (const each of said) expect(dangers(each)).toBe('');
        expect(dangers(printed((printer) => said.forEach((each) => printer.line(each))))).toBe('');
      }),
    );
  });

  it('in an invalid record are safe to print in the error', () => {
    fc.assert(
      fc.property(hostileText, hostileText, (name, text) => {
        const spoilt = {
          ...recordOf(),
          [name]: text,
          outcome: text,
          metrics: { ...recordOf().metrics, training: { [name]: text } },
        };
        const said = message(() => parseRecord(Buffer.from(JSON.stringify(spoilt)), RUN, text));
        expect(said).not.toBe('');
        expect(dangers(said)).toBe('');
      }),
    );
  });

  it('in place of ids, instances and object names make a record invalid', () => {
    const bad = fc.constantFrom('', 'a b', 'a\n', 'i-1\x1b[2J', '\u202eabc', 'x'.repeat(600));
    fc.assert(
      fc.property(bad, fc.constantFrom('instance', 'tree', 'runKey', 'snapshot', 'id'), (text, name) => {
        const value = Buffer.from(JSON.stringify({ ...recordOf(), [name]: text }));
        expect(message(() => parseRecord(value, RUN, 'key'))).toMatch(/^The record key can't be read/);
      }),
    );
  });

  it('in a reply of an instance are safe to print, also in its error, which keeps the lines of a traceback', () => {
    fc.assert(
      fc.property(hostileText, many, (text, all) => {
        const reply = readReply({ v: 1, ok: true, [text]: all, restored: all, checks: [{ name: text, detail: text }] });
        for (const each of texts(reply)) expect(dangers(each)).toBe('');
        const error = { code: 'INTERNAL', message: text, detail: { trace: `a\n${text}`, aws: text, paths: all } };
        const failed = parseReply(`${text.replace(/\n/g, '')}\nNX-EC2 ${JSON.stringify({ v: 1, ok: false, error })}\n`);
        if (!failed || failed.ok) throw new Error('no reply');
        const problem = remoteFailure(text, 'sync', failed.error);
        expect(dangers(problem.message)).toBe('');
        expect(problem.message).toContain('a\n');
      }),
    );
    for (const spoilt of [
      { v: 1 },
      { v: 1, ok: false },
      { v: 1, ok: false, error: { code: '\x1b', message: 'x' } },
      null,
      5,
      { v: 2, ok: true },
    ])
      expect(readReply(spoilt)).toBeNull();
  });

  it('in an error of AWS are safe to print', () => {
    fc.assert(
      fc.property(
        hostileText,
        hostileText,
        fc.constantFrom(200, 400, 403, 407, 503, undefined),
        (name, text, httpStatusCode) => {
          const error = Object.assign(new Error(text), {
            name,
            code: text,
            $metadata: httpStatusCode ? { httpStatusCode } : undefined,
          });
          const problem = awsProblem('INTERNAL', `Could not read ${text}.`, error, text);
          expect(dangers(problem.message)).toBe('');
          for (const each of texts(problem.aws)) expect(dangers(each)).toBe('');
        },
      ),
    );
  });

  it('in tags are safe to print in a list', () => {
    fc.assert(
      fc.property(many, (all) => {
        const next = cycle(all);
        const tags = Object.fromEntries(
          ['project', 'workspace', 'owner', 'store', 'run'].map((name) => [`nx-ec2:${name}`, next()]),
        );
        const made = { id: next(), state: next(), since: 0, tags };
        const inventory = {
          instances: [{ ...made, type: next(), market: 'spot', zone: next() }],
          fleets: [],
          templates: [],
          volumes: [],
          placementGroups: [],
          spotRequests: [],
        };
        const [listed] = listInventory(inventory as never, { caller: next(), now: 1 });
        const cells = [
          listed.id,
          listed.state,
          listed.type,
          listed.owner,
          listed.project,
          listed.workspace,
          listed.run,
        ];
        expect(dangers(table([['A', 'B', 'C', 'D', 'E', 'F', 'G'], cells.map((cell) => cell ?? '?')]))).toBe('');
      }),
    );
  });

  it('in the difference of two runs are safe to print', () => {
    fc.assert(
      fc.property(many, hostileText, (all, text) => {
        const next = cycle(all);
        const change = () => compareValues({ [next()]: next(), x: [next()] }, { [next()]: next(), x: next() });
        const file = () => ({ path: next(), before: { size: 1, sha256: 'a' }, after: { size: 2, sha256: 'b' } });
        const lines = describeDifference({
          before: RUN,
          after: RUN,
          git: change(),
          configuration: change(),
          data: change(),
          course: change(),
          metrics: [{ name: text, before: 1, after: 2, difference: 1 }],
          artifacts: { added: [file()], removed: [file()], changed: [file()], same: 0, trouble: text },
          code: {
            same: false,
            trouble: null,
            moved: [],
            added: [],
            removed: [],
            lockFiles: [next()],
            packages: [
              { path: next(), trouble: null, added: [{ name: text, version: text }], removed: [], changed: [] },
            ],
            changed: [],
          },
        } as never);
        for (const line of lines) expect(dangers(line)).toBe('');
      }),
    );
  });

  it('in the launch journal and in pointer files are safe to print, and a path keeps its characters', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const option = { type: text, subnet: text, zone: text, market: 'spot' };
        const launch = { generation: '0'.repeat(16), at: 1, n: 1, instance: null };
        const journal = { v: 1, ...launch, refused: [text], launchOptions: [option] };
        for (const each of texts(parseLaunch(Buffer.from(JSON.stringify(journal))) ?? {}))
          expect(dangers(each)).toBe('');
        const path = `a/${text}`;
        const pointer = parsePointer(JSON.stringify({ run: RUN, path, size: 1, sha256: 'a'.repeat(64), how: text }));
        expect(pointer === null).toBe(path.includes('\0'));
        if (pointer) {
          expect(pointer.path).toBe(path);
          expect(dangers(pointer.how)).toBe('');
        }
      }),
    );
  });
});
