import { connect } from 'node:net';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { startFixture } from '../local-aws.fixture';
import { LOCAL_IDENTITY } from './identity';
import { UnverifiedBodies } from './unverified-bodies';

describe('bodies of requests whose sender is not known yet', () => {
  it('are limited in size, each and together, until they are released', () => {
    const bodies = new UnverifiedBodies(10, 15);
    const first = bodies.open();
    first.take(4);
    first.take(6);
    expect(() => first.take(1)).toThrow(/10 bytes at most/);
    const second = bodies.open();
    second.take(5);
    expect(() => bodies.open().take(1)).toThrow(/Try again/);
    first.release();
    first.release();
    const third = bodies.open();
    third.take(10);
    expect(() => third.take(1)).toThrow(/at most/);
    expect(() => second.take(1)).toThrow(/Try again/);
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
