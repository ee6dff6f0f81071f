import { Agent, createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { DescribeInstancesCommand, EC2Client } from '@aws-sdk/client-ec2';
import { DescribeInstanceInformationCommand, SSMClient } from '@aws-sdk/client-ssm';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { S3Client, ListObjectsV2Command, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { awsProblem } from './reason';
import { httpHandler } from './http-handler';

describe("the SDK's requests", () => {
  let server: Server;
  let asked: number;
  const client = async (listener: RequestListener, silent = 300, whole = 60_000) => {
    asked = 0;
    server = createServer((request, response) => {
      asked++;
      request.resume();
      listener(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const agent = new Agent();
    return new S3Client({
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      region: 'eu-west-1',
      credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
      forcePathStyle: true,
      maxAttempts: 2,
      requestHandler: httpHandler('s3', { httpAgent: agent }, { silent, whole }),
    });
  };
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });
  const list = (s3: S3Client) => s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));

  it('fail after a second attempt if the server never answers', async () => {
    const s3 = await client(() => undefined);
    const error = await list(s3).catch((each: unknown) => each);
    expect(error).toMatchObject({ name: 'TimeoutError' });
    expect(asked).toBe(2);
    expect(awsProblem('INTERNAL', 'Could not list.', error).next).toMatch(
      /Nothing answered in time: check the network/,
    );
  });

  it('last as long as bytes come', async () => {
    const body = '<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>';
    const s3 = await client((_, response) => {
      response.writeHead(200, { 'content-type': 'application/xml' });
      const pieces = [...body];
      const timer = setInterval(() => {
        const piece = pieces.splice(0, 4).join('');
        if (piece) response.write(piece);
        else response.end(() => clearInterval(timer));
      }, 60);
    }, 800);
    await expect(list(s3)).resolves.toMatchObject({ KeyCount: 0 });
  });

  it('fail after a second attempt if the bytes of an answer trickle endlessly', async () => {
    const timers: NodeJS.Timeout[] = [];
    const trickle: RequestListener = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/xml' });
      response.write('<ListBucketResult>');
      timers.push(setInterval(() => response.write(' '), 20));
    };
    const s3 = await client(trickle, 60_000, 400);
    const error = await list(s3).catch((each: unknown) => each);
    for (const timer of timers) clearInterval(timer);
    expect(error).toMatchObject({ name: 'TimeoutError' });
    expect(awsProblem('STORE_LIST', 'Could not list.', error).next).toMatch(/Nothing answered in time/);
    expect(asked).toBe(2);
  });

  describe('of a body without an end', () => {
    let sent: number;
    /** As fast as the client takes it. */
    const endless =
      (status: number, type: string, start: string): RequestListener =>
      (_, response) => {
        response.writeHead(status, { 'content-type': type }).write(start);
        const piece = Buffer.alloc(256 * 1024, 'a');
        const more = () => {
          while (!response.destroyed && response.write(piece)) sent += piece.length;
        };
        response.on('drain', more).on('error', () => undefined);
        more();
      };
    const options = () => {
      const { port } = server.address() as AddressInfo;
      const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
      return { endpoint: `http://127.0.0.1:${port}`, region: 'eu-west-1', credentials, maxAttempts: 2 };
    };
    const handler = (service: string) =>
      httpHandler(service, { httpAgent: new Agent() }, { silent: 60_000, whole: 60_000 });
    const XML = '<Error><Code>AccessDenied</Code><Message>';
    const get = () => new GetObjectCommand({ Bucket: 'bucket', Key: 'key' });
    beforeEach(() => void (sent = 0));

    it.each<[string, number, string, () => Promise<unknown>]>([
      ['S3', 403, XML, async () => new S3Client({ ...options(), requestHandler: handler('s3') }).send(get())],
      [
        'EC2',
        403,
        XML,
        async () =>
          new EC2Client({ ...options(), requestHandler: handler('ec2') }).send(new DescribeInstancesCommand({})),
      ],
      [
        'STS',
        400,
        XML,
        async () =>
          new STSClient({ ...options(), requestHandler: handler('sts') }).send(new GetCallerIdentityCommand({})),
      ],
      [
        'Systems Manager',
        400,
        '{"__type":"',
        async () =>
          new SSMClient({ ...options(), requestHandler: handler('ssm') }).send(
            new DescribeInstanceInformationCommand({}),
          ),
      ],
    ])('that is an error of %s: fail after 64 KiB', async (_, status, start, send) => {
      await client(endless(status, 'application/xml', start));
      const error = await send().catch((each: unknown) => each);
      expect(error).toMatchObject({ name: 'AnswerTooLong', $metadata: { httpStatusCode: status } });
      const problem = awsProblem('STORE_GET', 'Could not read it.', error);
      expect(problem.aws!.message).toBe(`The body of an answer (HTTP ${status}) is longer than 64 KB.`);
      expect(problem.next).toMatch(/check HTTPS_PROXY and AWS_ENDPOINT_URL/);
      expect(asked).toBe(1);
      // What the sockets of both sides hold besides.
      expect(sent).toBeLessThan(16 << 20);
    });

    it('that is a list: fail after 32 MiB', async () => {
      const s3 = await client(endless(200, 'application/xml', '<ListBucketResult><Name>'), 60_000);
      const error = await list(s3).catch((each: unknown) => each);
      expect(awsProblem('STORE_LIST', 'Could not list it.', error).message).toMatch(
        'Could not list it. The body of an answer (HTTP 200) is longer than 32 MB.',
      );
      expect(asked).toBe(1);
      expect(sent).toBeLessThan(48 << 20);
    });

    it('that is an object: leave it to the reader where to stop', async () => {
      const s3 = await client(endless(200, 'binary/octet-stream', 'start'), 60_000);
      const { Body } = await s3.send(get());
      let read = 0;
      for await (const piece of Body as Readable) {
        read += (piece as Buffer).length;
        if (read > 40 << 20) break;
      }
      expect(read).toBeGreaterThan(40 << 20);
    });
  });

  it('do not take a web page for an empty list', async () => {
    const s3 = await client((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      response.end('<html><body>Sign in to the hotel</body></html>');
    });
    const error = await list(s3).catch((each: unknown) => each);
    const problem = awsProblem('STORE_LIST', 'Could not list s3://bucket/.', error);
    expect(problem.message).toMatch(/A web page came back \(HTTP 200\) instead of an answer from AWS/);
    expect(problem.next).toMatch(/sign-in page/);
    expect(asked).toBe(1);
  });

  it('return an object that is a web page', async () => {
    const s3 = await client((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html', 'x-amz-request-id': '1' });
      response.end('<html></html>');
    });
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'page.html' }));
    await expect(Body!.transformToString()).resolves.toBe('<html></html>');
  });

  it('report how much of a body was sent, from zero again for each attempt', async () => {
    const size = 32 * 1024 * 1024;
    let written = 0;
    let tell: () => void = () => undefined;
    const some = new Promise<void>((resolve) => (tell = resolve));
    let attempts = 0;
    const s3 = await client(() => undefined, 60_000);
    server.removeAllListeners('request').on('request', (request, response) => {
      const refuse = attempts++ === 0;
      // Nothing is read before a piece was reported: what the system buffers is far less than the body.
      void some.then(() => {
        expect(written).toBeLessThan(attempts * size);
        request.resume().on('end', () => response.writeHead(refuse ? 503 : 200).end());
      });
    });
    const onWritten = (bytes: number) => {
      written += bytes;
      tell();
    };
    const put = new PutObjectCommand({ Bucket: 'bucket', Key: 'key', Body: Buffer.alloc(size) });
    await s3.send(put, { onWritten } as object);
    expect([attempts, written]).toEqual([2, 2 * size]);
  });
});
