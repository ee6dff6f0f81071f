import { XMLParser, XMLValidator } from 'fast-xml-parser';
import fc from 'fast-check';
import { hostileText } from '../../report/hostile-text.fixture';
import { StoreFixture } from '../../store/store.fixture';
import { parseRecord } from '../record/record';
import { recordOf, RUN } from '../record/saved-run.fixture';
import { lineChart, ticks } from './chart';
import { codeSpan } from './escape-markdown';
import { htmlReport } from './html';
import { markdownReport } from './markdown';
import { readMetrics } from '../metrics/read-metrics';
import type { ReportedRun } from './reported-run';
import { Series } from '../metrics/series';

const seriesOf = (values: number[]) => {
  const series = new Series();
  for (const [n, value] of values.entries()) series.add(n * 1000, value);
  return series;
};

/** A run whose texts are all this one, as a reader of records hands it on. */
function runWith(text: string): ReportedRun {
  const { metadata } = recordOf();
  const failure = { code: text, message: text, exitCode: null };
  const checkpoints = [{ n: 1, unit: text, at: 2, attempt: 1, files: 1, size: 1, sha256: 'a'.repeat(64) }];
  const given = recordOf({
    outcome: 'failed',
    exitCode: 1,
    failure,
    checkpoints: checkpoints as never,
    datasets: [{ source: text, path: 'x', version: text, files: 1, bytes: 1 }] as never,
    metadata: { ...metadata, command: text },
  });
  const record = parseRecord(Buffer.from(JSON.stringify(given)), RUN, 'key');
  return {
    record,
    metrics: {
      training: new Map([[text, seriesOf([1, 2])]]),
      machine: new Map([[text, seriesOf([1])]]),
      trouble: text,
    },
    artifacts: { files: [{ path: text, size: 1 }], trouble: text },
  };
}

const NOTHING_OF_MARKUP = fc.oneof(
  hostileText,
  fc.string({ maxLength: 200 }),
  fc.constantFrom(
    '</title><script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "' onload='x",
    '``` | @someone #1 <b> [a](b)',
    '&#60;script&#62;',
    ']]><!--',
  ),
);

describe('the page of runs', () => {
  const TAGS = new Set(
    'html head meta title style body main h1 h2 div table thead tbody tr th td svg path text figure figcaption p br pre'.split(
      ' ',
    ),
  );
  const ATTRIBUTES = /^@_(lang|charset|http-equiv|content|name|class|scope|role|viewBox|d|x|y)$/;
  /** All elements and attributes of a tree of fast-xml-parser's. */
  const namesOf = (node: unknown): string[] =>
    typeof node === 'object' && node !== null
      ? Object.entries(node).flatMap(([name, child]) => [...(/^\d+$/.test(name) ? [] : [name]), ...namesOf(child)])
      : [];

  it('holds nothing that runs, whatever the texts of the runs are', () => {
    fc.assert(
      fc.property(NOTHING_OF_MARKUP, (text) => {
        const page = htmlReport([runWith(text), runWith(text)], null).replace('<!doctype html>', '');
        expect(XMLValidator.validate(page)).toBe(true);
        const tree: unknown = new XMLParser({ ignoreAttributes: false }).parse(page);
        const strange = namesOf(tree).filter((name) => !TAGS.has(name) && !ATTRIBUTES.test(name) && name !== '#text');
        expect(strange).toEqual([]);
      }),
    );
  });

  it('says by its policy that it loads and runs nothing but its own style', () => {
    const page = htmlReport([runWith('x')], null);
    const [, policy] = /Content-Security-Policy" content="([^"]*)"/.exec(page)!;
    expect(policy.replace(/&#39;/g, "'")).toMatch(
      /^default-src 'none'; style-src 'sha256-[\w+/=]{44}'; base-uri 'none'; form-action 'none'$/,
    );
    expect(page).not.toMatch(/\bstyle="|<script|https?:/);
  });

  it('draws numbers of any size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 50 }),
        (all) => {
          const { points } = seriesOf(all);
          const drawn = lineChart('x', [{ label: 'y', color: 0, start: 0, points }]);
          expect(drawn).not.toMatch(/NaN|Infinity/);
        },
      ),
    );
    expect(ticks([0, 1])).toEqual([0, 0.2, 0.4, 0.6000000000000001, 0.8, 1]);
    expect(ticks([0, 90])).toEqual([0, 20, 40, 60, 80]);
  });
});

describe('runs as Markdown', () => {
  it('hold texts as code alone', () => {
    fc.assert(
      fc.property(NOTHING_OF_MARKUP, (text) => {
        const span = codeSpan(text);
        // A backslash before the one of a pipe would be read with it by some programs, and the pipe would end the cell.
        expect(span).not.toMatch(/[\r\n]|(?<!\\)\||\\\\\|/);
        if (span === '–') return;
        const [, fence, inner] = /^(`+)([^]*)\1$/.exec(span)!;
        expect(inner.split(/[^`]+/)).not.toContain(fence);
      }),
    );
  });

  it('keep a pipe after backslashes within its cell', () => {
    expect(codeSpan('x\\\\| [click](http://host) \\|')).toBe('`x\\| [click](http://host) \\|`');
  });

  it('are tables of facts, last values and artifacts', () => {
    const run = runWith('a|b');
    expect(markdownReport([run], null)).toContain('| `a\\|b` | 2 |\n');
    expect(markdownReport([{ ...run, artifacts: { ...run.artifacts!, trouble: null } }], null)).toContain(
      '| `a\\|b` | 1 B |\n',
    );
  });

  it('say what is missing of metrics, as the page does, also where none is left', () => {
    const run = runWith('a part is missing');
    const none = { ...run, metrics: { ...run.metrics, training: new Map() } };
    for (const runs of [[run], [none], [runWith('x'), none]]) {
      expect(markdownReport(runs, null)).toContain(`### Metrics\n\n`);
      expect(markdownReport(runs, null)).toContain(`\`${RUN}\`: \`a part is missing\`\n`);
      expect(htmlReport(runs, null)).toContain(`<p>${RUN}: a part is missing.</p>`);
    }
    expect(markdownReport([{ ...none, metrics: { ...none.metrics, trouble: null } }], null)).not.toContain('Metrics');
  });
});

describe('a series', () => {
  it('keeps a limited number of points, with the extremes', () => {
    const values = Array.from({ length: 100_000 }, (_, n) => (n === 54_321 ? 9 : n === 12_345 ? -9 : Math.sin(n)));
    const series = seriesOf(values);
    expect(series.points.length).toBeLessThan(2_000);
    const kept = series.points.map(({ value }) => value);
    expect([Math.max(...kept), Math.min(...kept)]).toEqual([9, -9]);
    expect([series.max, series.min, series.last]).toEqual([9, -9, values.at(-1)]);
    const times = series.points.map(({ at }) => at);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });
});

describe('the metrics of a run in the store', () => {
  let at: StoreFixture;
  beforeAll(async () => (at = await StoreFixture.start()));
  afterAll(() => at.close());
  afterEach(() => at.empty());

  const put = (n: number, ...lines: unknown[]) =>
    at.store.put(
      `${at.keys().run(RUN)}metrics/${n}`,
      Buffer.from(lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('')),
    );
  const read = (segments: number) =>
    readMetrics(at.store, at.keys(), recordOf({ metrics: { ...recordOf().metrics, segments } }));

  it('are read from all segments', async () => {
    await put(
      0,
      { t: 5, training: { loss: 2, bad: null } },
      { t: 6, host: { cpu: 50, memoryUsed: 1, memoryTotal: 4 } },
    );
    await put(1, { t: 7, training: { loss: 1 } }, { t: 8, gpus: [{ utilization: 90 }, { utilization: 10 }] });
    const { training, machine, trouble } = await read(2);
    expect(training.get('loss')!.points).toEqual([
      { at: 5, value: 2 },
      { at: 7, value: 1 },
    ]);
    expect([...machine].map(([name, { last }]) => [name, last])).toEqual([
      ['Processors, %', 50],
      ['Memory, %', 25],
      ['GPU 0, %', 90],
      ['GPU 1, %', 10],
    ]);
    expect([training.size, trouble]).toEqual([1, null]);
  });

  it('are shown without what is missing or is none, which is said', async () => {
    await put(
      1,
      '[[[',
      { t: 'x' },
      { t: 1, training: { __proto__: 1, ok: 3 } },
      '{"t":2,"training":{"a\\u001b[2J":1}}',
    );
    const { training, trouble } = await read(2);
    expect([...training.keys()].join()).toMatch(/^ok,a[^\x1b]*$/);
    expect(trouble).toBe('a part of the metrics is missing in the store; a part of the metrics is not readable');
  });
});
