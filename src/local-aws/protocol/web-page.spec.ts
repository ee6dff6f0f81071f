import { request } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { startFixture, type Fixture } from '../local-aws.fixture';
import { rejectWebPage } from './web-page';

describe('local AWS and web pages', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture();
  });
  afterAll(() => at.close());

  const ask = (headers: Record<string, string>, path = '/bucket') =>
    new Promise<{ status: number; body: string }>((resolve, reject) => {
      request({ host: '127.0.0.1', port: at.aws.port, path, method: 'POST', headers }, (answer) => {
        let body = '';
        answer.on('data', (part) => (body += String(part)));
        answer.on('end', () => resolve({ status: answer.statusCode!, body }));
      })
        .on('error', reject)
        .end('Action=RunInstances');
    });

  const pages = (): [string, Record<string, string>, string][] => [
    ['a rebound name', { host: `rebound.example:${at.aws.port}` }, 'Host'],
    ['a rebound name without a port', { host: 'rebound.example' }, 'Host'],
    ['a name that only begins as its own', { host: `localhost.rebound.example:${at.aws.port}` }, 'Host'],
    ['a name that only ends as its own', { host: `notlocalhost:${at.aws.port}` }, 'Host'],
    ['another port', { host: `localhost:${at.aws.port - 1}` }, 'Host'],
    ['the form of a page', { origin: 'https://page.example' }, 'Origin'],
    ['a page without an origin', { origin: 'null' }, 'Origin'],
    ['a page of its own address', { origin: at.aws.url }, 'Origin'],
    ['an image of another site', { 'sec-fetch-site': 'cross-site' }, 'Sec-Fetch-Site'],
    ['a page on another port', { 'sec-fetch-site': 'same-site' }, 'Sec-Fetch-Site'],
  ];

  it('refuses a request that is meant for a proxy', async () => {
    for (const url of ['http://page.example/', 'http://127.0.0.1/bucket', 'bucket'])
      expect(rejectWebPage({ headers: { host: '127.0.0.1:4566' }, url }, 4566)).toContain(
        'another address than a path',
      );
    expect((await ask({}, 'http://page.example/bucket')).status).toBe(403);
  });

  it('answers a URL that it cannot decode as AWS does', async () => {
    const logged = jest.spyOn(console, 'error').mockImplementation();
    const broken = fc.constantFrom('%z', '%zz', '%ff', '%c3', '%e0%80', '%ed%a0%80');
    const word = fc.stringMatching(/^[a-z0-9]{0,5}$/);
    await fc.assert(
      fc.asyncProperty(
        word,
        broken,
        word,
        fc.constantFrom('/', '/bucket/', '/a/b/'),
        async (before, bad, after, above) => {
          const { status, body } = await ask({}, `${above}${before}${bad}${after}`);
          expect([status, /<Code>(.*)<\/Code>/.exec(body)?.[1]]).toEqual([400, 'InvalidURI']);
        },
      ),
      { numRuns: 30 },
    );
    expect(logged).not.toHaveBeenCalled();
    logged.mockRestore();
    const socket = new WebSocket(`ws://127.0.0.1:${at.aws.port}/v1/data-channel/%zz?role=publish_subscribe`);
    const refused = await new Promise<string>((resolve) => socket.on('error', ({ message }) => resolve(message)));
    expect(refused).toBe('Unexpected server response: 404');
  });

  it("refuses a browser's request for a page before anything else", async () => {
    for (const path of ['/', '/bucket', `/imds/${at.aws.named.get('box')!.id}/x/latest/api/token`])
      for (const [what, headers, names] of pages()) {
        const { status, body } = await ask(headers, path);
        expect([what, path, status]).toEqual([what, path, 403]);
        expect(body).toContain(`${names} header`);
      }
    expect(at.aws.calls.all()).toEqual([]);
  });

  it('refuses two Host headers, and an Origin after 2,500 other headers', async () => {
    const send = (headers: string[]) =>
      new Promise<string>((resolve, reject) => {
        const socket = connect(at.aws.port, '127.0.0.1');
        const parts: Buffer[] = [];
        socket.on('data', (part) => parts.push(part)).on('error', reject);
        socket.on('end', () => resolve(Buffer.concat(parts).toString()));
        socket.write(['GET /bucket HTTP/1.1', ...headers, 'Connection: close', '', ''].join('\r\n'));
      });
    const own = `Host: 127.0.0.1:${at.aws.port}`;
    expect(await send([own])).toContain('AccessDenied');
    for (const hosts of [
      [own, 'Host: page.example'],
      ['Host: page.example', own],
      [own, own],
    ])
      expect(await send(hosts)).toContain('a Host header that is not its own');
    const others = Array.from({ length: 2500 }, () => 'a:');
    expect(await send([own, ...others])).toContain('AccessDenied');
    expect(await send([own, ...others, 'Origin: null'])).toContain('an Origin header');
  });

  it('refuses a WebSocket of a page', async () => {
    const id = at.aws.named.get('box')!.id;
    for (const [what, headers] of pages()) {
      const socket = new WebSocket(`ws://127.0.0.1:${at.aws.port}/v1/data-channel/${id}?role=publish_subscribe`, {
        headers,
      });
      const refused = await new Promise<string>((resolve) => socket.on('error', ({ message }) => resolve(message)));
      expect([what, refused]).toEqual([what, 'Unexpected server response: 403']);
    }
  });

  it.each(['127.0.0.1', 'localhost', '[::1]', 'bucket.localhost', 'bucket.s3.localhost'])(
    'answers by its name %s',
    async (host) => {
      expect((await ask({ host: `${host}:${at.aws.port}`, 'sec-fetch-site': 'none' })).body).not.toContain('header');
    },
  );

  it('refuses any other host, however similar', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.domain(),
          fc.ipV4(),
          fc.string(),
          fc.domain().map((name) => `localhost.${name}`),
        ),
        (name) => {
          const own = /^(127\.0\.0\.1|\[::1\]|([a-z0-9-]+\.)*localhost)$/i.test(name);
          expect(rejectWebPage({ headers: { host: `${name}:4566` } }, 4566) === undefined).toBe(own);
        },
      ),
    );
  });
});
