import { connect } from 'node:net';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { startFixture } from './local-aws.fixture';
import { UnverifiedBodies } from './unverified-bodies';

describe('bodies of requests whose sender is not known yet', () => {
  it('are limited, each and together, and make room when they are gone', () => {
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

  it('are refused by local AWS before they are whole, and signed ones of S3 are not', async () => {
    const at = await startFixture();
    const piece = Buffer.alloc(1024 * 1024);
    const sent = { pieces: 0 };
    const socket = connect(at.aws.port, '127.0.0.1');
    const write = () => {
      for (let goesOn = true; goesOn && !socket.destroyed; sent.pieces++) goesOn = socket.write(piece);
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
});
