import { once } from 'node:events';
import { Agent as HttpAgent, createServer, get, type RequestListener, type Server } from 'node:http';
import { Agent as HttpsAgent, createServer as createTlsServer, get as getSecurely } from 'node:https';
import type { AddressInfo } from 'node:net';
import { EarlyConnections } from './early-connection';
import { ownCertificate } from './tls.fixture';

describe('EarlyConnections', () => {
  const certificate = ownCertificate('localhost');
  let early: EarlyConnections;
  let server: Server;
  let connections: number;
  const answer: RequestListener = (_request, response) => void response.end('here');

  const listen = async (protocol: 'http' | 'https') => {
    server = protocol === 'https' ? createTlsServer(certificate, answer) : createServer(answer);
    server.on(protocol === 'https' ? 'secureConnection' : 'connection', () => connections++);
    server.listen(0, 'localhost');
    await once(server, 'listening');
    return new URL(`${protocol}://localhost:${(server.address() as AddressInfo).port}`);
  };
  const ask = (url: URL, agent: HttpAgent) =>
    new Promise<string>((resolve, reject) => {
      const ask = url.protocol === 'https:' ? getSecurely : get;
      ask(url, { agent }, (response) => {
        let text = '';
        response.on('data', (data: Buffer) => (text += data));
        response.on('end', () => resolve(text));
      }).on('error', reject);
    });

  beforeEach(() => {
    early = new EarlyConnections();
    connections = 0;
  });
  afterEach(async () => {
    early.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it.each([
    ['http', () => new HttpAgent({ keepAlive: true })],
    ['https', () => new HttpsAgent({ keepAlive: true, ca: certificate.cert })],
  ] as const)('hands what it opened by %s to the first request, and is kept alive as any other', async (name, make) => {
    const url = await listen(name);
    const agent = make();
    early.serve(agent);
    early.open(url, [certificate.cert]);
    await once(server, name === 'https' ? 'secureConnection' : 'connection');
    expect([await ask(url, agent), await ask(url, agent)]).toEqual(['here', 'here']);
    expect(connections).toBe(1);
    agent.destroy();
  });

  it('opens one for each service of a host', async () => {
    const url = await listen('http');
    const agent = new HttpAgent({ keepAlive: true });
    early.serve(agent);
    for (const service of ['s3', 'ssm', 's3']) early.open(url, undefined, service);
    while (connections < 2) await once(server, 'connection');
    expect(await Promise.all([ask(url, agent), ask(url, agent)])).toEqual(['here', 'here']);
    expect(connections).toBe(2);
    agent.destroy();
  });

  it("has no effect if the server's certificate is not trusted", async () => {
    const url = await listen('https');
    const agent = new HttpsAgent({ ca: certificate.cert });
    early.serve(agent);
    // Without the authority it is not trusted, whoever asked for it.
    early.open(url, undefined);
    await once(server, 'tlsClientError');
    expect(await ask(url, agent)).toBe('here');
    agent.destroy();
  });

  it('is not used for another host', async () => {
    const url = await listen('http');
    const agent = new HttpAgent();
    early.serve(agent);
    early.open(new URL(`http://127.0.0.1:${url.port}`), undefined);
    expect(await ask(url, agent)).toBe('here');
    agent.destroy();
  });
});
