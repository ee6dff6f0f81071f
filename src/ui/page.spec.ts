/// <reference lib="dom" />
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { hostileText } from '../report/hostile-text.fixture';
import { recordOf, RUN, saveRun } from '../run/record/saved-run.fixture';
import { SEGMENT_BYTES } from '../run/record/stored-log';
import { UiFixture } from './ui.fixture';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);
/** A directory for pictures of each page, to be looked at. */
const PICTURES = process.env.NX_EC2_UI_PICTURES;

const HOSTILE = `<img src=x onerror="window.owned=1"><script>window.owned=1</script>'"&lt;b&gt;`;
const MARKUP = [
  HOSTILE,
  '<img src=x onerror=window.owned=1>',
  '"><svg/onload=window.owned=1>',
  "'-window.owned=1-'",
  'javascript:window.owned=1',
  '</script><script>window.owned=1</script>',
  '<iframe srcdoc="<script>parent.owned=1</script>">',
  '<style>*{display:none}</style>',
  '<form action=//evil.example><b>',
  '{{7*7}}',
  '__proto__',
  'constructor',
  'dangerouslySetInnerHTML',
];
const ACTIVE = '20260104-000000-model-abcdef';
const LONG = '20251231-000000-model-abcdef';
const STARTED = '20260107-000000-model-abcdef';
const FUZZED = '20260105-000000-model-abcdef';
const FOLLOWED = '20260106-000000-model-abcdef';
const HOSTILE_RUN = '20260103-000000-model-abcdef';

/** A picture of one color. */
function png(): Buffer {
  const crc = (bytes: Buffer) => {
    let value = ~0;
    for (const byte of bytes) {
      value ^= byte;
      for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
    }
    return ~value >>> 0;
  };
  const chunk = (type: string, data: Buffer) => {
    const named = Buffer.concat([Buffer.from(type), data]);
    const [size, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    size.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc(named));
    return Buffer.concat([size, named, sum]);
  };
  const [width, height] = [120, 60];
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(width * 3, 0x80)]);
  const rows = deflateSync(Buffer.concat(Array<Buffer>(height).fill(row)));
  const parts = [chunk('IHDR', head), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), ...parts]);
}

if (CHROMIUM === undefined) process.emitWarning('No Chromium on this machine: the page of nx-ec2 ui is not tested.');

(CHROMIUM === undefined ? describe.skip : describe)('the page of nx-ec2 ui, in Chromium', () => {
  let ui: UiFixture;
  let browser: Browser;
  let page: Page;
  /** What the browser has refused to load or to run, and exceptions of the page. */
  const problems: string[] = [];

  beforeAll(async () => {
    ui = await UiFixture.start([], false);
    await fill(ui);
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    page.setDefaultTimeout(120_000);
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    page.on('request', (request) => {
      const { origin, protocol } = new URL(request.url());
      if (/^http/.test(protocol) && origin !== new URL(ui.server.url).origin) problems.push(request.url());
    });
    await page.goto(ui.server.url);
  });
  afterAll(async () => {
    await browser?.close();
    await ui?.close();
  });
  afterEach(async () => {
    expect(problems.splice(0)).toEqual([]);
    expect(await page.evaluate('window.owned')).toBeUndefined();
    // Hostile texts make no elements: the page has one script, and images are its own.
    expect(await page.locator('script').count()).toBe(1);
    expect(await page.locator('img:not([src^="blob:"])').count()).toBe(0);
  });

  const picture = async (name: string) => {
    if (PICTURES === undefined) return;
    mkdirSync(PICTURES, { recursive: true });
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      // Charts are drawn again.
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
      await page.screenshot({ path: join(PICTURES, `${name}-${colorScheme}.png`) });
    }
  };
  const rows = () => page.locator('tbody tr');
  const open = (path: string) => page.goto(`${new URL(ui.server.url).origin}/#/${path}`);

  it('has no token in its address, and its cookie is of no use to scripts', async () => {
    expect(page.url()).toBe(`${new URL(ui.server.url).origin}/`);
    expect(await page.evaluate('document.cookie')).toBe('');
  });

  it('lists runs, filters and sorts them, by the keyboard alone', async () => {
    await rows().nth(2).getByText('ann').waitFor();
    await picture('runs');
    expect(await page.locator('tbody th').allTextContents()).toEqual([ACTIVE, HOSTILE_RUN, RUN]);
    await page.keyboard.press('/');
    await page.keyboard.type('succeeded');
    await untilRows(page, 1);
    expect(await rows().first().textContent()).toContain(RUN);
    await page.getByRole('searchbox').fill('');
    await page.getByLabel('State').selectOption('active');
    await untilRows(page, 1);
    expect(await rows().first().textContent()).toContain('silent for');
    await page.getByLabel('State').selectOption('');
    await untilRows(page, 3);
    await page.getByRole('button', { name: 'Cost' }).focus();
    await page.keyboard.press('Enter');
    expect(await page.getByRole('columnheader', { name: 'Cost' }).getAttribute('aria-sort')).toBe('descending');
  });

  it('shows a run, with commands to copy', async () => {
    await open('');
    await page.getByRole('link', { name: RUN }).click();
    await page.getByText('Download the results').waitFor();
    await picture('run');
    expect(await page.locator('main').textContent()).toContain(`npx nx run model:remote-pull --run=${RUN}`);
  });

  it('shows its log with colors, one line for a progress bar, and finds text in it', async () => {
    await page.getByRole('link', { name: 'Log', exact: true }).click();
    await page.locator('.log-line').first().waitFor();
    await picture('log');
    await page.locator('.log-line', { hasText: 'epoch 199' }).first().waitFor();
    await page.getByRole('searchbox').fill('100 %');
    await page.locator('.log-line.current').waitFor();
    expect(await page.locator('.log-line.current').textContent()).toBe('100 %');
    expect(await page.locator('.log-line .ansi-red', { hasText: 'failed once' }).count()).toBe(1);
    await page.getByRole('searchbox').fill('EPOCH 17 ');
    await page.locator('.log-line.current', { hasText: 'epoch 17 ' }).locator('mark').waitFor();
    await picture('search');
  });

  it('opens a long log at its end, and loads other parts of it on demand', async () => {
    const lines = Array.from({ length: 40_000 }, (_, n) => `line ${n} of a long log`);
    const log = `${lines.join('\n')}\n`;
    await ui.run(LONG, {}, log);
    await open(`run/model/${LONG}/log`);
    const line = (n: number) => page.locator('.log-line', { hasText: `line ${n} of` });
    /** Waits until this line is at the top of what is seen. */
    const untilTop = (text: string) =>
      page.waitForFunction((text) => {
        const { left, top } = document.querySelector('.log')!.getBoundingClientRect();
        return document.elementFromPoint(left + 20, top + 12)!.textContent === text;
      }, text);
    await line(39_999).waitFor();
    await page.locator('.log').evaluate((log) => (log.scrollTop = 0));
    const [first] = log.slice(log.indexOf('\n', log.length - SEGMENT_BYTES) + 1).split('\n');
    await untilTop(first);
    await page.getByRole('button', { name: 'Earlier' }).click();
    await page.waitForFunction(() => document.querySelector('.log')!.scrollTop > 0);
    await untilTop(first);
    await page.getByRole('button', { name: 'Start' }).click();
    await line(0).waitFor();
    await untilTop('line 0 of a long log');
    await page.getByRole('button', { name: 'Later' }).click();
    await untilTop('line 0 of a long log');
    await page.getByRole('slider').fill('50');
    const middle = log.slice(0, log.indexOf('\n', log.length / 2)).split('\n').length;
    await line(middle).waitFor();
    await untilTop(lines[middle]);
    await page.getByRole('button', { name: 'End' }).click();
    await line(39_999).waitFor();
  });

  it('draws its metrics', async () => {
    await open(`run/model/${RUN}`);
    await page.getByRole('link', { name: 'Charts' }).click();
    await page.locator('canvas').first().waitFor();
    await picture('charts');
    expect(await page.locator('figcaption').allTextContents()).toEqual(['loss', 'accuracy', 'Processors, %']);
    const drawn = await page.evaluate(() => {
      const canvas = document.querySelector('canvas')!;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size;
    });
    expect(drawn).toBeGreaterThan(5);
    expect(await page.getByRole('img').first().getAttribute('aria-label')).toMatch(
      /^loss: loss from 0\.\d+ to 1, last/,
    );
  });

  it('lists its files and shows an image as one, whatever other files are called', async () => {
    await page.getByRole('link', { name: 'Files' }).click();
    await page
      .getByRole('row', { name: /chart\.png/ })
      .getByRole('button', { name: 'Show' })
      .click();
    await page.locator('img').waitFor();
    await page.waitForFunction(() => document.querySelector('img')!.naturalWidth === 120);
    await page
      .getByRole('row', { name: /not\.png/ })
      .getByRole('button', { name: 'Show' })
      .click();
    await page.getByText('The file is no PNG and no JPEG.').waitFor();
    await page
      .getByRole('row', { name: /notes\.md/ })
      .getByRole('button', { name: 'Show' })
      .click();
    await page.locator('pre').waitFor();
    expect(await page.locator('pre').textContent()).toBe(HOSTILE);
    await page
      .getByRole('row', { name: /table\.csv/ })
      .getByRole('button', { name: 'Show' })
      .click();
    await page.getByRole('cell', { name: '0.5' }).waitFor();
    await picture('files');
    const downloads = page.waitForEvent('download');
    await page
      .getByRole('row', { name: /page\.html/ })
      .getByRole('link', { name: 'Download' })
      .click();
    expect((await downloads).suggestedFilename()).toBe('page.html');
    await page.getByText('step-1.pt').first().click();
    await page.getByRole('table', { name: /Checkpoint/ }).waitFor();
  });

  it('shows its configuration, and what differs from another run', async () => {
    await page.getByRole('link', { name: 'Configuration' }).click();
    await page.getByText('epochs').waitFor();
    await page.getByRole('link', { name: 'Difference' }).click();
    await page.locator('pre').waitFor();
    await picture('difference');
    expect(await page.locator('pre').textContent()).toMatch(/outcome {2}running → succeeded/);
  });

  it('shows several runs in one table, by the settings in which they differ, and their metrics in one chart', async () => {
    await open('');
    for (const run of [RUN, ACTIVE]) await page.getByLabel(`Compare ${run}`).check();
    await page.getByRole('link', { name: 'Compare them in one chart and table' }).click();
    await page.locator('canvas').first().waitFor();
    expect(await page.locator('figure').first().locator('li').count()).toBe(2);
    const order = () => page.locator('tbody th').allTextContents();
    await page.getByRole('button', { name: 'lr' }).click();
    expect(await order()).toEqual([RUN, ACTIVE]);
    await page.getByRole('button', { name: 'lr' }).click();
    expect(await order()).toEqual([ACTIVE, RUN]);
    // Only settings in which they differ have a column.
    expect(await page.getByRole('button', { name: 'epochs' }).count()).toBe(0);
    await picture('compare');
  });

  it('shows hostile texts as they are, on each of its parts', async () => {
    for (const tab of ['overview', 'log', 'charts', 'files', 'configuration', 'difference']) {
      await open(`run/${encodeURIComponent(HOSTILE)}/${HOSTILE_RUN}/${tab}`);
      await page.getByRole('heading', { name: HOSTILE_RUN }).waitFor();
      if (tab !== 'files') await page.getByText('onerror').first().waitFor();
      expect(await page.evaluate('window.owned')).toBeUndefined();
      expect(await page.locator('main :is(img, script, iframe, b)').count()).toBe(0);
    }
    await picture('hostile');
  });

  it('makes no element of any text, whatever is in it', async () => {
    const pieces = fc.oneof(fc.constantFrom(...MARKUP), hostileText);
    const text = fc.array(pieces, { minLength: 1, maxLength: 5 }).map((all) => all.join(''));
    await fc.assert(
      fc.asyncProperty(text, text, async (one, other) => {
        const metadata = { ...recordOf().metadata, command: one, host: other, configuration: { [one]: other } };
        const metrics = { ...recordOf().metrics, training: { [one]: 1, [other]: 2 }, segments: 1, warnings: [one] };
        const sample = (t: number) => ({ t, training: { [one]: t, [other]: 1 } });
        await ui.run(FUZZED, { metadata, metrics, warnings: [other] }, `${one}\n${other}\n`, [sample(5), sample(9)]);
        for (const tab of ['overview', 'log', 'charts', 'configuration']) {
          await open('instances');
          await open(`run/model/${FUZZED}/${tab}`);
          await page.locator('main :is(.facts, .log, canvas)').first().waitFor();
          expect(await page.evaluate(() => Reflect.get(window, 'owned'))).toBeUndefined();
          expect(await page.locator('main :is(img, script, iframe, svg, form, style, link, object, b)').count()).toBe(
            0,
          );
        }
      }),
      { numRuns: 6 },
    );
  });

  it('follows the log of an active run, and notices its end', async () => {
    const active = { state: 'running', outcome: null, exitCode: null, endedAt: null } as const;
    await ui.run(FOLLOWED, { ...active, startedAt: Date.now(), heartbeat: 1 }, 'first\nno end');
    await open(`run/model/${FOLLOWED}/log`);
    await page.locator('.log-line', { hasText: 'no end' }).waitFor();
    await ui.run(FOLLOWED, { ...active, startedAt: Date.now(), heartbeat: 2 }, 'first\nno end yet\nsecond\n 5 %\r 6 %');
    await page.locator('.log-line', { hasText: '6 %' }).waitFor();
    expect(await page.locator('.log-line').allTextContents()).toEqual(['first', 'no end yet', 'second', ' 6 %']);
    await ui.run(FOLLOWED, { heartbeat: 3 }, 'first\nno end yet\nsecond\n 5 %\r 6 %\nlast\n');
    await page.locator('h2', { hasText: 'succeeded' }).waitFor();
    await page.locator('.log-line', { hasText: 'last' }).waitFor();
  });

  it('lists runs that were started since, and a state that has changed', async () => {
    await open('');
    const row = (run: string) => page.getByRole('row', { name: run });
    await row(ACTIVE).getByText('silent').waitFor();
    await ui.run(STARTED, {});
    await ui.run(ACTIVE, { heartbeat: 9, outcome: 'failed', exitCode: 1 });
    await row(STARTED).getByText('succeeded').waitFor();
    await row(ACTIVE).getByText('failed').waitFor();
  });

  it('lists instances, and says why it can not', async () => {
    await open('instances');
    await page.getByText('nx-ec2 has launched nothing').waitFor();
    await page.route('**/api/instances', (route) =>
      route.fulfill({ status: 502, json: { code: 'INVENTORY', message: 'AWS says: UnauthorizedOperation' } }),
    );
    await open('');
    await open('instances');
    await page.getByText('UnauthorizedOperation').waitFor();
    await picture('denied');
    await page.unroute('**/api/instances');
    problems.splice(0);
  });

  it('shows nothing of the store to a browser without the cookie', async () => {
    const stranger = await browser.newContext();
    const other = await stranger.newPage();
    const answer = await other.goto(ui.server.url);
    expect(answer!.status()).toBe(403);
    await stranger.close();
  });
});

/** Waits until there are so many rows. */
async function untilRows(page: Page, count: number): Promise<void> {
  await page.waitForFunction((count) => document.querySelectorAll('tbody tr').length === count, count);
}

async function fill(ui: UiFixture): Promise<void> {
  const start = Date.UTC(2026, 0, 1);
  const samples = Array.from({ length: 200 }, (_, n) => ({
    t: start + n * 10_000,
    host: { cpu: 40 + 30 * Math.sin(n / 20) },
    training: { loss: 1 / (1 + n / 20), accuracy: 1 - 1 / (1.5 + n / 10) },
  }));
  const lines = Array.from({ length: 200 }, (_, n) => `epoch ${n} loss ${(1 / (1 + n)).toFixed(4)}`);
  const log = [
    ' 10 %\r 50 %\r\x1b[32m\r100 %',
    '\x1b[31mfailed once\x1b[0m, tried again',
    '\x1b[38;5;208morange\x1b[0m \x1b[38;2;10;200;90mgreen\x1b[0m',
    ...lines,
  ].join('\n');
  const record = await saveRun(
    ui.store.store,
    ui.store.keys(),
    {
      'chart.png': png(),
      'not.png': Buffer.from('<svg onload=alert(1)>'),
      'page.html': Buffer.from(HOSTILE),
      'table.csv': Buffer.from(`name,loss\n"${HOSTILE.replaceAll('"', '""')}",0.5\n`),
      'notes.md': Buffer.from(HOSTILE),
    },
    { 'step-1.pt': Buffer.from('weights') },
  );
  const metadata = {
    ...recordOf().metadata,
    configuration: { epochs: 3, lr: 0.1 },
    price: { perHour: 1.2, market: 'spot', where: 'eu-west-1a', date: '2026-01-01', source: 'ec2' } as const,
  };
  const times = { createdAt: start, startedAt: start, endedAt: start + 2_000_000 };
  const metrics = { ...record.metrics, segments: 1, training: { loss: 0.09, accuracy: 0.95 } };
  const attempts = [{ ...record.attempts[0], startedAt: start, endedAt: start + 900_000 }];
  const checkpoints = record.checkpoints.map((each) => ({ ...each, at: start + 1_000_000 }));
  const again = { attempts, attempt: 2, since: start + 950_000, checkpoints };
  await ui.run(RUN, { ...record, ...times, ...again, metadata, metrics }, log, samples);
  const active = { state: 'running', outcome: null, exitCode: null } as const;
  const slower = { ...metadata, configuration: { epochs: 3, lr: 0.01 } };
  await ui.run(
    ACTIVE,
    { ...active, ...times, attempts: [], endedAt: null, metadata: slower, metrics },
    log,
    samples.slice(0, 90),
  );
  ui.store.age(1, [`${ui.store.keys().run(ACTIVE)}record.json`]);
  await ui.run(
    HOSTILE_RUN,
    {
      project: HOSTILE,
      outcome: 'failed',
      exitCode: 1,
      user: HOSTILE,
      metadata: { ...metadata, command: HOSTILE, host: HOSTILE, configuration: { [HOSTILE]: HOSTILE } },
      metrics: { ...metrics, training: { [HOSTILE]: 1 }, warnings: [HOSTILE] },
      warnings: [HOSTILE],
    },
    `${HOSTILE}\n\x1b[31m${HOSTILE}\x1b[0m\n`,
    [
      { t: 5, training: { [HOSTILE]: 1 } },
      { t: 9, training: { [HOSTILE]: 2 } },
    ],
  );
}
