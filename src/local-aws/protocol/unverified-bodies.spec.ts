import { createHash, createHmac } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { until } from '../../system/until.fixture';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { LOCAL_IDENTITY } from './identity';
import { UnverifiedBodies } from './unverified-bodies';

/** A request to STS whose signature is over the body, and whose head does not have the hash of the body. */
function signed({ aws, clientOptions: { credentials } }: Fixture, body: string) {
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
  const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = [date.slice(0, 8), 'eu-west-1', 'sts', 'aws4_request'];
  const head = ['POST', '/', '', `host:127.0.0.1:${aws.port}`, `x-amz-date:${date}`, '', 'host;x-amz-date'];
  const text = ['AWS4-HMAC-SHA256', date, scope.join('/'), sha256([...head, sha256(body)].join('\n'))].join('\n');
  const key = scope.reduce<string | Buffer>(hmac, `AWS4${credentials.secretAccessKey}`);
  const credential = [credentials.accessKeyId, ...scope].join('/');
  const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host;x-amz-date, Signature=${hmac(key, text).toString('hex')}`;
  return { body, headers: { authorization, 'x-amz-date': date } };
}

describe('bodies of requests whose sender is not known yet', () => {
  const stays = () => new Promise<never>(() => undefined);

  it('are limited in size, each and together, until they are released', () => {
    const bodies = new UnverifiedBodies({ largest: 10, together: 15 });
    const first = bodies.open();
    first.take(4);
    first.take(6);
    expect(() => first.take(1)).toThrow(/10 bytes at most/);
    first.complete();
    const second = bodies.open();
    second.take(5);
    expect(() => bodies.open().take(5)).toThrow(/Try again/);
    first.release();
    first.release();
    const third = bodies.open();
    third.take(10);
    expect(() => third.take(1)).toThrow(/at most/);
    third.complete();
    expect(() => second.take(1)).toThrow(/Try again/);
  });

  it('give way to smaller ones while they are incomplete, the largest first', async () => {
    const bodies = new UnverifiedBodies({ largest: 10, together: 25 });
    const [complete, large, middle, small] = [10, 8, 7, 1].map((bytes) => {
      const body = bodies.open();
      if (bytes === 1) return body;
      body.take(bytes);
      return body;
    });
    complete.complete();
    const waits = large.next(stays());
    small.take(1);
    await expect(waits).rejects.toThrow(/Try again/);
    expect(() => large.take(1)).toThrow(/Try again/);
    await expect(large.next(stays())).rejects.toThrow(/Try again/);
    // What it held is free.
    small.take(7);
    expect(() => small.take(1)).toThrow(/Try again/);
    middle.release();
    small.take(1);
  });

  it('are waited for only for a time, and longer the more has come', async () => {
    const bodies = new UnverifiedBodies({ patienceMs: 100, bytesPerSecond: 1000 });
    const quick = bodies.open();
    expect(await quick.next(Promise.resolve('part'))).toBe('part');
    quick.take(300);
    const began = performance.now();
    await expect(quick.next(stays())).rejects.toThrow(/too slowly/);
    expect(performance.now() - began).toBeGreaterThanOrEqual(390);
    // A trickle earns nothing: the time is that of the whole body.
    const trickle = bodies.open();
    const dribble = async () => {
      for (;;) {
        await trickle.next(sleep(20));
        trickle.take(1);
      }
    };
    await expect(dribble()).rejects.toThrow(/too slowly/);
  });

  it('keep no signed request from an answer, however much they hold', async () => {
    const at = await startFixture();
    const size = 64 * 1024 * 1024 - 1;
    const sockets = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const socket = connect(at.aws.port, '127.0.0.1').on('error', () => undefined);
        const head = `POST / HTTP/1.1\r\nHost: 127.0.0.1:${at.aws.port}\r\nContent-Length: ${size + 1}\r\n\r\n`;
        socket.write(head);
        await new Promise((resolve) => socket.write(Buffer.alloc(size), resolve));
        return socket;
      }),
    );
    await until(() => at.aws.traffic().client.up >= 4 * size);
    expect(await refusal(at.sts.send(new GetCallerIdentityCommand({})))).toBe(null);
    expect(sockets.every((socket) => !socket.destroyed)).toBe(true);
    // As boto3 signs: no header has the hash of the body.
    const answer = await fetch(at.aws.url, { method: 'POST', ...signed(at, 'Action=GetCallerIdentity') });
    expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining(LOCAL_IDENTITY.arn)]);
    await until(() => sockets.filter((socket) => socket.destroyed || socket.readableLength > 0).length === 1);
    for (const socket of sockets) socket.destroy();
    await at.close();
  });

  it('are refused by local AWS before they are complete, except signed ones of S3', async () => {
    const at = await startFixture();
    const piece = Buffer.alloc(1024 * 1024);
    const sent = { pieces: 0 };
    const socket = connect(at.aws.port, '127.0.0.1');
    const write = () => {
      for (let accepts = true; accepts && !socket.destroyed; sent.pieces++) accepts = socket.write(piece);
    };
    socket.on('drain', write);
    socket.write(`PUT /bucket/x HTTP/1.1\r\nHost: 127.0.0.1:${at.aws.port}\r\nContent-Length: ${2 ** 32}\r\n\r\n`);
    const answer: Buffer[] = [];
    socket.on('data', (data) => answer.push(data));
    const closed = new Promise((resolve) => socket.on('error', resolve).on('close', resolve));
    write();
    await closed;
    // What was still on its way may have reset the connection before the answer was read.
    expect(Buffer.concat(answer).toString()).toMatch(/^(HTTP\/1\.1 413 |$)/);
    expect(sent.pieces).toBeLessThan(200);
    await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'large', Body: Buffer.alloc(70 * 1024 * 1024) }));
    await at.close();
  });

  it('are not parsed before their sender is verified', async () => {
    const at = await startFixture();
    const read = jest.spyOn(Buffer.prototype, 'toString');
    const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const post = (body: string, headers: Record<string, string>) =>
      fetch(`${at.aws.url}/bucket`, { method: 'POST', body, headers }).then((answer) => answer.text());
    const body = `Action=RunInstances${'&a'.repeat(50_000)}`;
    for (const service of ['ec2', 'sts', 'ssm']) {
      const credential = `${LOCAL_IDENTITY.accessKeyId}/${date.slice(0, 8)}/eu-west-1/${service}/aws4_request`;
      const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host, Signature=${'0'.repeat(64)}`;
      const answer = await post(body, { authorization, 'x-amz-date': date });
      expect(answer).toMatch(/AuthFailure|SignatureDoesNotMatch|InvalidSignatureException/);
    }
    expect(read.mock.contexts.filter(({ length }) => length === body.length)).toEqual([]);
    read.mockRestore();
    const field = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n';
    const form = { 'content-type': 'multipart/form-data; boundary=b' };
    for (const large of [field.repeat(1000), `${field}--b\r\n\r\n\r\n${'a'.repeat(30_000)}`, 'a'.repeat(30_000)])
      expect(await post(large, form)).toContain('MaxPostPreDataLengthExceeded');
    for (const small of [field, '--b\r\n\r\n\r\na', ''])
      expect(await post(small, form)).toContain('MalformedPOSTRequest');
    await at.close();
  });
});
