import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Aws } from '../aws/clients';
import { hasOwnHost } from '../local-aws/protocol/web-page';
import { putRecord, recordOf } from '../run/record/saved-run.fixture';
import type { RunRecord } from '../run/record/record';
import { SEGMENT_BYTES } from '../run/record/stored-log';
import { StoreFixture } from '../store/store.fixture';
import { uiRoutes } from './routes';
import { startUiServer, type UiServer } from './server';
import { StoreReader } from './store-reader';

export const PREFIX = 'team';

export interface Answered {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/** The server of the page, on a store of local AWS. */
export class UiFixture {
  private constructor(
    readonly store: StoreFixture,
    readonly server: UiServer,
    private readonly aws: Aws,
    private readonly directory: string,
    readonly cookie: string,
  ) {}

  /** @param deny actions that the caller may not use @param isOpened whether the address is opened already */
  static async start(deny: string[] = [], isOpened = true): Promise<UiFixture> {
    const store = await StoreFixture.start(deny);
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-ui-'));
    execFileSync(process.execPath, [join(__dirname, '../../scripts/package/page.mjs'), directory]);
    const aws = new Aws({});
    const server = await startUiServer({
      port: 0,
      assets: directory,
      routes: uiRoutes(new StoreReader(store.store, PREFIX), { aws }),
      isOwnHost: hasOwnHost,
    });
    let cookie = '';
    if (isOpened) {
      const { headers } = await get(server.port, new URL(server.url).pathname + new URL(server.url).search);
      [cookie] = String(headers['set-cookie']).split(';');
    }
    return new UiFixture(store, server, aws, directory, cookie);
  }

  async close(): Promise<void> {
    await this.server.close();
    this.aws.close();
    await this.store.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Asks as the page does. */
  get(path: string, headers: Record<string, string | string[]> = {}, method = 'GET'): Promise<Answered> {
    return get(this.server.port, path, { cookie: this.cookie, 'sec-fetch-site': 'same-origin', ...headers }, method);
  }

  async json<T>(path: string, query: Record<string, string | number> = {}): Promise<{ status: number; data: T }> {
    const text = new URLSearchParams(
      Object.entries(query).map(([key, value]): [string, string] => [key, String(value)]),
    ).toString();
    const { status, body } = await this.get(`/api/${path}?${text}`);
    return { status, data: JSON.parse(body.toString()) as T };
  }

  /** A run with a log and metrics. */
  async run(id: string, more: Partial<RunRecord> = {}, log = '', metrics: object[] = []): Promise<void> {
    const project = more.project ?? 'model';
    const keys = this.store.keys(project);
    const prefix = keys.node(id, more.node?.rank ?? 0);
    const bytes = Buffer.from(log);
    const segments: string[] = [];
    for (let at = 0; at < bytes.length; at += SEGMENT_BYTES) {
      const segment = bytes.subarray(at, at + SEGMENT_BYTES);
      await this.store.store.put(`${prefix}log/${segments.length}`, segment);
      segments.push(createHash('sha256').update(segment).digest('hex'));
    }
    if (metrics.length)
      await this.store.store.put(
        `${prefix}metrics/0`,
        Buffer.from(metrics.map((each) => `${JSON.stringify(each)}\n`).join('')),
      );
    const hashes = { folded: 0, chain: '0'.repeat(64), segments };
    const base = recordOf();
    await putRecord(this.store.store, keys, {
      ...base,
      metrics: { ...base.metrics, segments: metrics.length ? 1 : 0 },
      ...more,
      id,
      log: { size: bytes.length, training: 0, truncated: false, hashes },
    });
  }
}

/** Opens the address of a server as a browser does. @returns what asks it for a path, as the page does. */
export async function openUi(url: string): Promise<(path: string) => Promise<Answered>> {
  const { port, pathname, search } = new URL(url);
  const { headers } = await get(Number(port), pathname + search);
  const [cookie] = String(headers['set-cookie']).split(';');
  return (path) => get(Number(port), path, { cookie, 'sec-fetch-site': 'same-origin' });
}

/** A request as it is on the wire: fetch sets some headers by itself. */
export function get(
  port: number,
  path: string,
  headers: Record<string, string | string[]> = {},
  method = 'GET',
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, headers, method, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(pieces) }),
      );
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end();
  });
}
