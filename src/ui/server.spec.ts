import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { dangers, hostileText } from '../report/hostile-text.fixture';
import { nodeStateOf, putRecord, RUN, recordOf, saveRun } from '../run/record/saved-run.fixture';
import { SEGMENT_BYTES } from '../run/record/stored-log';
import type {
  DifferenceData,
  FilesData,
  InstancesData,
  LogPiece,
  MetricsData,
  Overview,
  Row,
  RunDetail,
  Trouble,
} from './api';
import { get, UiFixture } from './ui.fixture';

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

type Headers = Record<string, string>;

const OTHER = '20260102-000000-model-abcdef';
const FORGED = '20260103-000000-model-abcdef';

describe('the server of nx-ec2 ui', () => {
  let ui: UiFixture;
  beforeAll(async () => {
    ui = await UiFixture.start();
  });
  afterAll(() => ui.close());
  afterEach(() => ui.store.empty());

  const log = async (query: Record<string, string | number> = {}) =>
    (await ui.json<LogPiece & Trouble>('log', { project: 'model', run: RUN, ...query })).data;

  describe('answers', () => {
    it('no request without the cookie, and sets it once for the token', async () => {
      const fresh = await UiFixture.start([], false);
      try {
        const { port, url } = fresh.server;
        const { search } = new URL(url);
        for (const path of [
          '/',
          '/page.js',
          '/api/overview',
          '/?token=x',
          `/api/overview${search}`,
          `/page.js${search}`,
        ])
          expect((await get(port, path)).status).toBe(403);
        const opened = await get(port, `/${search}`);
        expect(opened).toMatchObject({ status: 303, headers: { location: '/' } });
        expect(String(opened.headers['set-cookie'])).toMatch(/^[\w-]+=[\w-]{43}; HttpOnly; SameSite=Strict; Path=\/$/);
        const [cookie] = String(opened.headers['set-cookie']).split(';');
        expect((await get(port, '/', { cookie })).status).toBe(200);
        expect((await get(port, '/', { cookie: `a=b; ${cookie}` })).status).toBe(200);
        // The address again: of use to the same browser alone.
        expect((await get(port, `/${search}`)).status).toBe(403);
        expect((await get(port, `/${search}`, { cookie })).status).toBe(303);
        for (const wrong of [`${cookie}x`, cookie.slice(0, -1), `${cookie}; ${cookie}x`, cookie.replace('=', '-1=')])
          expect((await get(port, '/', { cookie: wrong })).status).toBe(403);
      } finally {
        await fresh.close();
      }
    });

    it('no page of another site, another port or another name, nor anything but GET', async () => {
      const { port } = ui.server;
      const refused: [Record<string, string | string[]>, string?, string?][] = [
        [{ origin: 'http://evil.example' }],
        [{ origin: 'null' }],
        [{ origin: `http://127.0.0.1:${port + 1}` }],
        [{ origin: `https://127.0.0.1:${port}` }],
        [{ 'sec-fetch-site': 'cross-site' }],
        [{ 'sec-fetch-site': 'same-site' }],
        [{ host: `evil.example:${port}` }],
        [{ host: `127.0.0.1:${port + 1}` }],
        [{ host: `127.0.0.1.evil.example:${port}` }],
        [{}, '/', 'POST'],
        [{}, '/', 'OPTIONS'],
        [{}, '/', 'HEAD'],
        [{}, `http://evil.example/`],
        [{}, '//evil.example/'],
      ];
      for (const [headers, path = '/api/overview', method] of refused)
        expect([headers, path, method, (await ui.get(path, headers, method)).status]).toEqual([
          headers,
          path,
          method,
          403,
        ]);
      for (const headers of [{}, { origin: `http://127.0.0.1:${port}` }, { 'sec-fetch-site': 'none' }] as Headers[])
        expect((await ui.get('/api/overview', headers)).status).toBe(200);
      const host = `localhost:${port}`;
      expect((await ui.get('/', { host, origin: `http://${host}` })).status).toBe(200);
    });

    it('each request with a policy by which nothing but its own files is loaded and run', async () => {
      for (const [path, type] of [
        ['/', 'text/html; charset=utf-8'],
        ['/page.js', 'text/javascript; charset=utf-8'],
        ['/page.css', 'text/css; charset=utf-8'],
        ['/api/overview', 'application/json; charset=utf-8'],
        ['/api/nothing', 'application/json; charset=utf-8'],
      ]) {
        const { headers } = await ui.get(path);
        expect(headers).toMatchObject({
          'content-type': type,
          'content-security-policy':
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
          'x-content-type-options': 'nosniff',
          'referrer-policy': 'no-referrer',
          'cross-origin-resource-policy': 'same-origin',
          'cache-control': 'no-store',
        });
      }
      const html = (await ui.get('/')).body.toString();
      expect(html).not.toMatch(/<script(?![^>]* src="\/page\.js")|<style|\sstyle=|\son\w+=|https?:/);
    });

    it('no other file, whatever the path', async () => {
      const paths = [
        '/../package.json',
        '/%2e%2e/package.json',
        '/..%2fpackage.json',
        '/index.html',
        '/page.js/..',
        '/ui',
      ];
      for (const path of [...paths, '/constructor', '/__proto__', '/api/constructor', '/%'])
        expect([path, (await ui.get(path)).status]).toEqual([path, path === '/page.js/..' ? 200 : 404]);
    });

    it('requests that name no run, project or place of a log with what is wrong', async () => {
      for (const [path, query] of [
        ['run', { project: 'model', run: '../x' }],
        ['run', { project: '..', run: RUN }],
        ['run', { project: '', run: RUN }],
        ['run', { project: 'x'.repeat(600), run: RUN }],
        ['run', { project: 'model', run: RUN, node: '-1' }],
        ['log', { project: 'model', run: RUN, from: '1e9' }],
        ['rows', { project: 'model', runs: `${RUN},x` }],
        ['rows', { project: 'model', runs: Array(101).fill(RUN).join(',') }],
        ['overview', { since: 'x' }],
      ] as const)
        expect([path, query, (await ui.json(path, query)).status]).toEqual([path, query, 400]);
      const missing = await ui.json<Trouble>('run', { project: 'model', run: RUN });
      expect(missing).toMatchObject({ status: 404, data: { code: 'NO_RUN' } });
    });
  });

  describe('shows', () => {
    it('the projects and runs of the store, and those that were started since', async () => {
      await ui.run(RUN);
      await ui.run(OTHER, { outcome: 'failed', exitCode: 3 });
      await ui.run(RUN.replace('model', 'odd'), { project: 'odd name/é' });
      const { data } = await ui.json<Overview>('overview');
      expect(data).toMatchObject({
        store: 's3://bucket/team',
        partial: null,
        listed: 2,
        projects: [
          { project: 'model', runs: [OTHER, RUN] },
          { project: 'odd name/é', runs: [RUN.replace('model', 'odd')] },
        ],
      });
      const since = await ui.json<Overview>('overview', { since: '20260102-000000' });
      expect(since.data.projects.map(({ runs }) => runs)).toEqual([[OTHER]]);
      const { data: rows } = await ui.json<{ rows: Row[] }>('rows', { project: 'model', runs: `${RUN},${OTHER}` });
      expect(rows.rows).toMatchObject([
        {
          id: OTHER,
          state: 'failed',
          isActive: false,
          by: 'ann',
          metrics: [
            ['loss', 0.5],
            ['nan', null],
          ],
        },
        { id: RUN, state: 'succeeded' },
      ]);
    });

    it('a list of runs with no record, and rows with one request each', async () => {
      for (let n = 0; n < 5; n++) await ui.run(RUN.replace('abcdef', `abcde${'abcde'[n]}`));
      const { calls } = ui.store.local.aws;
      calls.clear();
      const { data } = await ui.json<Overview>('overview');
      expect(calls.all().map(({ action }) => action)).toEqual(['s3:ListBucket', 's3:ListBucket']);
      const { runs } = data.projects[0];
      calls.clear();
      for (let times = 0; times < 2; times++)
        await ui.json('rows', { project: 'model', runs: runs.slice(0, 2).join(',') });
      // What has ended is not read again.
      expect(calls.all().map(({ action }) => action)).toEqual(['s3:GetObject', 's3:GetObject']);
    });

    it('each node of a run on several', async () => {
      for (const rank of [0, 1])
        await ui.run(RUN, { node: nodeStateOf(rank, 2) }, `rank ${rank}\n`, [
          { t: 5, training: { [`rank${rank}`]: 1 } },
        ]);
      for (const node of [0, 1]) {
        const where = { project: 'model', run: RUN, node };
        expect((await log({ node })).text).toBe(`rank ${node}\n`);
        const { data } = await ui.json<MetricsData>('metrics', where);
        expect(data.training.map(({ name }) => name)).toEqual([`rank${node}`]);
        expect((await ui.json<RunDetail>('run', where)).data.nodes).toBe(2);
      }
      expect((await ui.json('run', { project: 'model', run: RUN, node: 2 })).status).toBe(404);
    });

    it('of a run whose record is forged nothing but that', async () => {
      await ui.store.store.put(
        `${ui.store.keys().run(FORGED)}record.json`,
        Buffer.from(JSON.stringify(recordOf({ id: FORGED }))),
      );
      const { data } = await ui.json<{ rows: Row[] }>('rows', { project: 'model', runs: FORGED });
      expect(data.rows).toEqual([{ id: FORGED, trouble: { code: 'RECORD_UNVERIFIED', message: expect.any(String) } }]);
      for (const path of ['run', 'log', 'metrics', 'files'])
        expect(await ui.json(path, { project: 'model', run: FORGED })).toMatchObject({
          status: 502,
          data: { code: 'RECORD_UNVERIFIED' },
        });
    });

    it('a run, its metrics with the times of attempts and checkpoints, and the difference to another', async () => {
      const metrics = [1, 2, 3].map((n) => ({ t: 1000 * n, host: { cpu: n * 10 }, training: { loss: 1 / n } }));
      const run = { startedAt: 500, endedAt: 9000, since: 2500, attempt: 2, heartbeat: 8 };
      const checkpoints = [{ n: 1, unit: 'step-1', sha256: 'a'.repeat(64), size: 5, files: 1, at: 2000, attempt: 1 }];
      await ui.run(RUN, { ...run, checkpoints }, 'hello\n', metrics);
      const configuration = { epochs: 3 };
      await ui.run(OTHER, { metadata: { ...recordOf().metadata, configuration } });
      const detail = await ui.json<RunDetail>('run', { project: 'model', run: RUN });
      expect(detail.data).toMatchObject({ state: 'succeeded', logSize: 6, project: 'model' });
      expect(detail.data.commands).toContainEqual([
        'Download the results',
        `npx nx run model:remote-pull --run=${RUN}`,
      ]);
      const { data } = await ui.json<MetricsData>('metrics', { project: 'model', run: RUN });
      expect(data).toMatchObject({
        start: 500,
        trouble: null,
        training: [
          {
            name: 'loss',
            min: 1 / 3,
            max: 1,
            last: 1 / 3,
            points: [
              [1000, 1],
              [2000, 0.5],
              [3000, 1 / 3],
            ],
          },
        ],
        machine: [{ name: 'Processors, %', last: 30 }],
        marks: [
          { at: 2500, label: 'attempt 2', kind: 'attempt' },
          { at: 2000, label: 'checkpoint step-1', kind: 'checkpoint' },
        ],
      });
      const query = { project: 'model', run: OTHER, withProject: 'model', with: RUN };
      const difference = await ui.json<DifferenceData>('difference', query);
      expect(difference.data.lines.join('\n')).toMatch(/configuration\n {2}epochs {2}– → 3/);
    });

    it('files for download alone, each part verified, and none that the run does not name', async () => {
      const png = Buffer.from('89504e470d0a1a0a00', 'hex');
      const page = Buffer.from('<script>alert(1)</script>');
      const big = Buffer.alloc(9 * 1024 * 1024, 'x');
      await saveRun(
        ui.store.store,
        ui.store.keys(),
        { 'a.png': png, 'ä "q".html': page, 'big.bin': big, empty: Buffer.alloc(0) },
        { 'step-1.pt': Buffer.from('weights') },
      );
      const where = { project: 'model', run: RUN };
      const { data } = await ui.json<FilesData>('files', where);
      const paths = data.files.map(({ path }) => path);
      expect(paths.sort()).toEqual(['artifacts/a.png', 'artifacts/big.bin', 'artifacts/empty', 'artifacts/ä "q".html']);
      expect(data.checkpoints).toMatchObject([{ n: 1, files: 1 }]);
      const file = (query: Record<string, string>) =>
        ui.get(`/api/file?${new URLSearchParams({ ...where, ...query })}`);
      for (const [path, bytes] of [
        ['artifacts/a.png', png],
        ['artifacts/ä "q".html', page],
        ['artifacts/big.bin', big],
        ['artifacts/empty', Buffer.alloc(0)],
      ] as const) {
        const got = await file({ path });
        expect([path, got.status, got.body.equals(bytes)]).toEqual([path, 200, true]);
        expect(got.headers).toMatchObject({
          'content-type': 'application/octet-stream',
          'content-security-policy': "default-src 'none'; sandbox",
          'x-content-type-options': 'nosniff',
          'content-disposition': expect.stringMatching(/^attachment; filename\*=UTF-8''[\w%.-]+$/),
        });
      }
      const [{ path }] = (await ui.json<FilesData>('checkpoint', { ...where, n: 1 })).data.files;
      expect((await file({ path, n: '1' })).body.toString()).toBe('weights');
      for (const path of ['../record.json', 'record.json', '', 'artifacts', 'artifacts/../artifacts/a.png'])
        expect([path, (await file({ path })).status]).toEqual([path, 404]);
      expect((await file({ path, n: '2' })).status).toBe(404);
      // A part that was replaced in the bucket is not handed out as the file.
      const prefix = `${ui.store.keys().run(RUN)}part/`;
      for (const { key, size } of await ui.store.store.list(prefix, 100))
        if (size === page.length) await ui.store.store.put(key, Buffer.from('x'.repeat(size)));
      await expect(file({ path: 'artifacts/ä "q".html' })).rejects.toThrow();
    });

    it('a log of any length in pieces that end with lines', async () => {
      const lines = Array.from({ length: 60_000 }, (_, n) => `line ${n} ${'é'.repeat(n % 20)}`);
      await ui.run(RUN, {}, `${lines.join('\n')}\nno end`);
      const read: string[] = [];
      let at = 0;
      for (;;) {
        const piece = await log({ from: at });
        expect(piece).toMatchObject({ from: at, isVerified: true, isActive: false });
        read.push(piece.text);
        if (piece.rest !== null) {
          expect(piece.rest).toBe('no end');
          break;
        }
        at = piece.next;
      }
      expect(read.join('').split('\n').slice(0, -1)).toEqual(lines);
      const end = await log();
      expect(end).toMatchObject({ rest: 'no end', from: expect.any(Number) });
      expect(end.text.endsWith(`${lines.at(-1)}\n`)).toBe(true);
      const before = await log({ before: end.from });
      expect(before.next).toBe(end.from);
      expect(before.text.startsWith('line ')).toBe(true);
      expect(read.join('')).toContain(before.text + end.text);
      const middle = await log({ at: SEGMENT_BYTES + 3 });
      expect(middle.text.startsWith('line ')).toBe(true);
      expect((await log({ from: end.size })).text).toBe('');
      expect((await log({ from: 10 * end.size })).text).toBe('');
      await ui.run(OTHER, {}, 'x'.repeat(3 * SEGMENT_BYTES));
      const long = await ui.json<LogPiece>('log', { project: 'model', run: OTHER, from: 0 });
      expect(long.data.text).toHaveLength(SEGMENT_BYTES);
    });

    it('a log of 1 GB by its parts that are asked for, and says which of them the record confirms', async () => {
      const [segments, folded] = [4096, 3072];
      const bytes = Buffer.from(`${'x'.repeat(63)}\n`.repeat(SEGMENT_BYTES / 64));
      const hashes = { folded, chain: 'a'.repeat(64), segments: Array<string>(1024).fill(sha256(bytes)) };
      const record = recordOf({ log: { size: segments * SEGMENT_BYTES, training: 0, truncated: false, hashes } });
      await putRecord(ui.store.store, ui.store.keys(), record);
      for (const n of [1000, segments - 1]) await ui.store.store.put(`${ui.store.keys().run(RUN)}log/${n}`, bytes);
      const end = await log();
      expect(end).toMatchObject({ next: segments * SEGMENT_BYTES, isVerified: true });
      const { calls } = ui.store.local.aws;
      calls.clear();
      const middle = await log({ from: 1000 * SEGMENT_BYTES });
      expect(middle).toMatchObject({ next: 1001 * SEGMENT_BYTES, isVerified: false });
      expect(middle.text).toHaveLength(SEGMENT_BYTES);
      // The record, and one segment.
      expect(calls.all().map(({ action }) => action)).toEqual(['s3:GetObject', 's3:GetObject']);
    });

    it('no log that the record does not confirm', async () => {
      await ui.run(RUN, {}, 'right\n');
      await ui.store.store.put(`${ui.store.keys().run(RUN)}log/0`, Buffer.from('wrong\n'));
      expect(await log()).toMatchObject({ code: 'LOG_CHANGED' });
      await ui.store.store.delete([`${ui.store.keys().run(RUN)}log/0`]);
      expect(await log()).toMatchObject({ code: 'LOG_MISSING' });
    });

    it('texts of others without what a terminal or a reader would be misled by', async () => {
      await fc.assert(
        fc.asyncProperty(hostileText, hostileText, async (one, other) => {
          const metadata = { ...recordOf().metadata, command: one, configuration: { [other]: one } };
          const metrics = { ...recordOf().metrics, training: { [one]: 1 }, segments: 1, warnings: [other] };
          const sample = { t: 5, training: { [other]: 1 } };
          await ui.run(RUN, { metadata, metrics, warnings: [one] }, `${one}\n${other}\n`, [sample]);
          const { data } = await ui.json<RunDetail>('run', { project: 'model', run: RUN });
          const measured = await ui.json<MetricsData>('metrics', { project: 'model', run: RUN });
          const texts = [
            ...data.facts.flat(),
            ...data.configuration.flat(),
            ...data.warnings,
            ...data.metrics.map(([name]) => name),
            ...measured.data.training.map(({ name }) => name),
          ];
          expect(texts.map(dangers).filter(Boolean)).toEqual([]);
          const { text, rest } = await log();
          expect((text + (rest ?? '')).replace(/\x1b\[[\d;:]*m|\r/g, '')).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
        }),
        { numRuns: 15 },
      );
    });

    it('instances, of which there are none here', async () => {
      const { data } = await ui.json<InstancesData>('instances');
      expect(data).toEqual({ region: 'eu-west-1', perHour: 0, unknown: 0, rows: [] });
    });
  });
});

describe('the server of nx-ec2 ui, for a caller who may only read some things', () => {
  it('says of each part what is denied, and shows the others', async () => {
    const deny: string[] = [];
    const ui = await UiFixture.start(deny);
    try {
      await ui.run(RUN, {}, 'hello\n');
      deny.push('ec2:DescribeInstances', 's3:PutObject', 's3:DeleteObject', 'ssm:PutParameter', 'ssm:SendCommand');
      const where = { project: 'model', run: RUN };
      for (const path of ['run', 'log', 'metrics', 'files']) expect((await ui.json(path, where)).status).toBe(200);
      const denied = { status: 502, data: { message: expect.stringMatching(/AccessDenied|UnauthorizedOperation/) } };
      expect(await ui.json('instances')).toMatchObject(denied);
      deny.push('s3:GetObject');
      for (const path of ['run', 'log']) expect(await ui.json(path, where)).toMatchObject(denied);
      const { data } = await ui.json<Overview>('overview');
      expect(data.projects).toMatchObject([{ runs: [RUN] }]);
      deny.push('s3:ListBucket');
      expect(await ui.json('overview')).toMatchObject(denied);
    } finally {
      await ui.close();
    }
  });
});
