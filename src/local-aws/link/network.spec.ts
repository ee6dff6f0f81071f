import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { GetObjectCommand, ListBucketsCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { createPresignedPost } from '@aws-sdk/s3-presigned-post';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { CancelCommandCommand, GetCommandInvocationCommand, SendCommandCommand } from '@aws-sdk/client-ssm';
import { startFixture, type Fixture } from '../local-aws.fixture';
import { until } from '../../system/until.fixture';

const KB = 1_000;

describe('a network profile', () => {
  let at: Fixture;
  afterEach(() => at.close());

  const put = (Key: string, size: number) =>
    at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: randomBytes(size) }));
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const begun = performance.now();
    await work();
    return performance.now() - begun;
  };
  const get = (agent?: Agent) =>
    new Promise<void>((resolve, reject) =>
      httpRequest(at.aws.url, { agent }, (answer) => answer.resume().once('end', resolve))
        .once('error', reject)
        .end(),
    );

  it('limits the bytes per second of all connections together', async () => {
    at = await startFixture({ network: { client: { up: 1_000 * KB } } });
    expect(await timed(() => put('alone', 200 * KB))).toBeGreaterThanOrEqual(200);
    const each: number[] = [];
    const upload = async (name: string) => each.push(await timed(() => put(name, 200 * KB)));
    const both = await timed(() => Promise.all([upload('one'), upload('two')]));
    expect(both).toBeGreaterThanOrEqual(400);
    // Side by side, not one after the other.
    expect(Math.min(...each)).toBeGreaterThan(300);
  });

  it('limits the bytes per second of an answer', async () => {
    at = await startFixture({ network: { client: { down: 1_000 * KB } } });
    await put('large', 400 * KB);
    const begun = performance.now();
    const { Body } = await at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'large' }));
    const arrivals: number[] = [];
    for await (const _part of Body as AsyncIterable<Buffer>) arrivals.push(performance.now() - begun);
    const last = arrivals[arrivals.length - 1];
    expect(last).toBeGreaterThanOrEqual(400);
    // The link has carried a part by the time that the last one came: not all of it waited for the end.
    expect(arrivals[0]).toBeLessThan(last - 100);
  });

  it('reads no more from a sender than the link carries', async () => {
    at = await startFixture({ network: { client: { up: 1_000 * KB } } });
    const upload = httpRequest(`${at.aws.url}/bucket/never`, { method: 'PUT' }).on('error', () => undefined);
    const content = randomBytes(20_000 * KB);
    const begun = performance.now();
    upload.write(content);
    await until(() => at.aws.traffic().client.up > 100 * KB);
    upload.destroy();
    await sleep(100);
    const { up } = at.aws.traffic().client;
    // What the link carries in that time, and what its buffers take at once.
    expect(up).toBeLessThan((performance.now() - begun) * KB + 600 * KB);
    expect(at.aws.requests).toEqual([]);
  });

  it('delays a new connection once, and each request by a round trip', async () => {
    at = await startFixture({ network: { client: { roundTrip: 60, connect: 2 } } });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    expect(await timed(() => get(agent))).toBeGreaterThanOrEqual(180);
    // Several, of which the quickest counts: the machine may be busy.
    const again: number[] = [];
    for (let n = 0; n < 10; n++) again.push(await timed(() => get(agent)));
    expect(Math.min(...again)).toBeGreaterThanOrEqual(60);
    expect(Math.min(...again)).toBeLessThan(150);
    expect(at.aws.traffic().client).toMatchObject({ connections: 1, requests: 11 });
    agent.destroy();
  });

  it('does not delay the first request of a connection that was opened before', async () => {
    at = await startFixture({ network: { client: { roundTrip: 60, connect: 4 } } });
    const times: number[] = [];
    for (let n = 0; n < 10; n++) {
      const socket = connect(at.aws.port, '127.0.0.1');
      await sleep(260);
      const begun = performance.now();
      socket.write(`GET / HTTP/1.1\r\nhost: localhost:${at.aws.port}\r\n\r\n`);
      await once(socket, 'data');
      times.push(performance.now() - begun);
      socket.destroy();
    }
    expect(Math.min(...times)).toBeLessThan(200);
  });

  it('delays the answer to Expect: 100-continue by a round trip', async () => {
    at = await startFixture({ network: { client: { roundTrip: 60 } } });
    const asked = httpRequest(`${at.aws.url}/bucket/key`, { method: 'PUT', headers: { expect: '100-continue' } });
    const begun = performance.now();
    asked.flushHeaders();
    await once(asked, 'continue');
    expect(performance.now() - begun).toBeGreaterThanOrEqual(60);
    asked.end('x');
    const [answer] = await once(asked, 'response');
    expect(performance.now() - begun).toBeGreaterThanOrEqual(120);
    answer.resume();
  });

  it('tells requests of instances from those of clients', async () => {
    at = await startFixture();
    await put('key', 10);
    const instance = new S3Client({ ...at.clientOptions, credentials: at.instanceCredentials, forcePathStyle: true });
    await instance.send(new ListBucketsCommand({}));
    await fetch(await getSignedUrl(at.s3, new GetObjectCommand({ Bucket: 'bucket', Key: 'key' })));
    const { url, fields } = await createPresignedPost(at.s3, { Bucket: 'bucket', Key: 'form' });
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    form.set('file', new Blob(['content']));
    await fetch(url, { method: 'POST', body: form });
    await fetch(at.aws.url);
    expect(at.aws.requests.map(({ link, action, path, status }) => `${link} ${action} ${path} ${status}`)).toEqual([
      'client PUT /bucket/key 200',
      'instance GET / 200',
      'instance GET /bucket/key 200',
      'instance POST /bucket 204',
      'client GET / 403',
    ]);
    expect(at.aws.traffic()).toMatchObject({ client: { requests: 2 }, instance: { requests: 3 } });
  });

  it('records when each request was on the wire and its size', async () => {
    at = await startFixture({ network: { client: { roundTrip: 40, connect: 2 } } });
    const begun = Date.now();
    await put('key', 5_000);
    await at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'key' }));
    const [first, second] = at.aws.requests;
    expect(first.sent - begun).toBeGreaterThanOrEqual(79);
    expect(first.answered - first.sent).toBeGreaterThanOrEqual(40);
    expect(second.sent).toBeGreaterThanOrEqual(first.answered - 1);
    expect([first.up, second.down].every((bytes) => bytes > 5_000 && bytes < 7_000)).toBe(true);
    expect(at.aws.traffic().client.up).toBe(first.up + second.up);
  });

  it('can be changed while requests are under way', async () => {
    at = await startFixture();
    await put('near', 10);
    at.aws.useNetwork({ client: { roundTrip: 60 }, pickUp: 300 });
    expect(at.aws.traffic().client).toMatchObject({ requests: 0, up: 0 });
    expect(await timed(() => put('far', 10))).toBeGreaterThanOrEqual(60);
    expect(at.aws.traffic().client.requests).toBe(1);
    expect(at.aws.requests).toHaveLength(2);
  });

  it('delays the start of a command, which can be cancelled meanwhile', async () => {
    at = await startFixture({ network: { pickUp: 2000 } });
    const InstanceIds = [at.aws.named.get('box')!.id];
    const send = async () => {
      const sent = await at.ssm.send(
        new SendCommandCommand({
          InstanceIds,
          DocumentName: 'AWS-RunShellScript',
          Parameters: { commands: [`touch ${at.directory}/started`] },
        }),
      );
      return sent.Command!;
    };
    const look = ({ CommandId }: { CommandId?: string }) =>
      at.ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId: InstanceIds[0] }));
    const cancelled = await send();
    expect(await look(cancelled)).toMatchObject({ Status: 'Pending' });
    await at.ssm.send(new CancelCommandCommand({ CommandId: cancelled.CommandId }));
    const command = await send();
    let answer = await look(command);
    while (/^(Pending|InProgress)$/.test(answer.Status!)) {
      await sleep(100);
      answer = await look(command);
    }
    expect(answer.Status).toBe('Success');
    const started = Date.parse(answer.ExecutionStartDateTime!);
    expect(started - command.RequestedDateTime!.getTime()).toBeGreaterThanOrEqual(1999);
    expect(await look(cancelled)).toMatchObject({ Status: 'Cancelled', ExecutionStartDateTime: '' });
  });
});
