import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Aws } from './clients';
import { sdk } from './sdk';

/** What a faulty server or proxy answers, whatever it is asked. */
describe('a list', () => {
  const before = { ...process.env };
  let server: Server | undefined;
  let asked = 0;
  let aws: Aws;
  afterEach(() => {
    aws.close();
    server?.closeAllConnections();
    server?.close();
    process.env = { ...before };
  });

  async function answerWith(body: string): Promise<void> {
    asked = 0;
    server = createServer((_, response) => {
      asked++;
      response.writeHead(200, { 'content-type': 'application/xml' }).end(body);
    });
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      AWS_ACCESS_KEY_ID: 'a',
      AWS_SECRET_ACCESS_KEY: 'b',
    });
    aws = new Aws({ region: 'eu-west-1' });
  }
  async function listObjects(): Promise<string[]> {
    const keys: string[] = [];
    const pages = sdk.s3().paginateListObjectsV2({ client: await aws.s3() }, { Bucket: 'bucket' });
    for await (const { Contents = [] } of pages) keys.push(...Contents.map(({ Key }) => Key!));
    return keys;
  }
  const page = (more: string) => `<ListBucketResult><Contents><Key>a</Key></Contents>${more}</ListBucketResult>`;

  it.each([
    ['with an empty body', '', 'something else'],
    ['with another document', '<Result/>', 'something else'],
    ['with a part that has no next one', page('<IsTruncated>true</IsTruncated>'), 'a part of it'],
  ])('of objects that is answered %s is an error', async (_, body, text) => {
    await answerWith(body);
    await expect(listObjects()).rejects.toThrow(text);
    expect(asked).toBe(1);
  });

  it('of objects whose page comes again and again is an error', async () => {
    await answerWith(page('<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>'));
    await expect(listObjects()).rejects.toThrow('the same page');
    expect(asked).toBe(2);
  });

  it('of instances whose page comes again and again is an error', async () => {
    await answerWith('<DescribeInstancesResponse><nextToken>t</nextToken></DescribeInstancesResponse>');
    const pages = sdk.ec2().paginateDescribeInstances({ client: await aws.ec2() }, {});
    await expect(
      (async () => {
        for await (const each of pages) expect(each.Reservations ?? []).toEqual([]);
      })(),
    ).rejects.toThrow('the same page');
    expect(asked).toBe(2);
  });

  it('of no objects is empty', async () => {
    await answerWith('<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount></ListBucketResult>');
    expect(await listObjects()).toEqual([]);
  });
});
