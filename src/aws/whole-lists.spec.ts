import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Aws } from './clients';
import { Store } from '../store/store';
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

  /** @param body or of each page, by its number. */
  async function answerWith(body: string | ((page: number) => string)): Promise<void> {
    asked = 0;
    server = createServer((_, response) => {
      asked++;
      response.writeHead(200, { 'content-type': 'application/xml' }).end(typeof body === 'string' ? body : body(asked));
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

  const instance = (id: string) =>
    `<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>${id}</instanceId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`;
  const fleet = (id: string) =>
    `<?xml version="1.0"?>\n<DescribeFleetsResponse><fleetSet><item><fleetId>${id}</fleetId></item></fleetSet></DescribeFleetsResponse>`;

  it.each([
    ['an empty body', '', 'Nothing came back'],
    ['a page without a type', '<html><body>x</body></html>', 'Something else came back'],
    ['the answer to another action', '<DescribeVolumesResponse/>', 'Something else came back'],
    ['text', 'Service unavailable', 'Something else came back'],
  ])('of EC2 that is answered with %s is an error', async (_, body, text) => {
    await answerWith(body);
    const ec2 = await aws.ec2();
    const { DescribeInstancesCommand, DescribeFleetsCommand, DeleteFleetsCommand } = sdk.ec2();
    await expect(ec2.send(new DescribeInstancesCommand({}))).rejects.toThrow(text);
    await expect(ec2.send(new DescribeFleetsCommand({}))).rejects.toThrow(text);
    await expect(ec2.send(new DeleteFleetsCommand({ FleetIds: ['f'], TerminateInstances: true }))).rejects.toThrow(
      text,
    );
    await expect(aws.instances({}).next()).rejects.toThrow(text);
  });

  it('of instances has those that were asked for, and no others', async () => {
    await answerWith(instance('i-2'));
    await expect(aws.instances({ InstanceIds: ['i-1'] }).next()).rejects.toThrow('answered with another');
    await expect(aws.instances({ InstanceIds: ['i-1', 'i-2'] }).next()).rejects.toThrow('answered without i-1');
    expect((await aws.instances({ InstanceIds: ['i-2'] }).next()).value).toMatchObject({ InstanceId: 'i-2' });
    expect((await aws.instances({}).next()).value).toMatchObject({ InstanceId: 'i-2' });
    const { DescribeInstancesCommand } = sdk.ec2();
    const bySdk = (await aws.ec2()).send(new DescribeInstancesCommand({ InstanceIds: ['i-1'] }));
    await expect(bySdk).rejects.toThrow('answered with another');
  });

  it('of fleets has those that were asked for, and no others', async () => {
    await answerWith(fleet('fleet-2'));
    const { DescribeFleetsCommand } = sdk.ec2();
    const ask = async (...FleetIds: string[]) => (await aws.ec2()).send(new DescribeFleetsCommand({ FleetIds }));
    await expect(ask('fleet-1')).rejects.toThrow('answered with another');
    await expect(ask('fleet-1', 'fleet-2')).rejects.toThrow('answered without fleet-1');
    expect((await ask('fleet-2')).Fleets).toMatchObject([{ FleetId: 'fleet-2' }]);
  });

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

  const truncated = (token: number) =>
    `<IsTruncated>true</IsTruncated><NextContinuationToken>t${token}</NextContinuationToken>`;
  const listInStore = () => new Store(aws, { bucket: 'bucket' }).list('', 1000);

  it.each<[string, () => Promise<unknown>]>([
    ['by the SDK', listObjects],
    ['without the SDK', listInStore],
  ])('of objects, %s, whose pages are empty without an end is an error', async (_, list) => {
    await answerWith((number) => `<ListBucketResult><Name>bucket</Name>${truncated(number)}</ListBucketResult>`);
    await expect(list()).rejects.toThrow('200 pages of a list that hold nothing new');
    expect(asked).toBe(200);
  });

  it('of objects whose keys come again and again is an error', async () => {
    await answerWith((number) => page(truncated(number)));
    await expect(listObjects()).rejects.toThrow('200 pages of a list that hold nothing new');
    expect(asked).toBe(201);
  });

  it('of objects may have empty pages between others', async () => {
    const key = (number: number) => `<Contents><Key>k${1000 + number}</Key></Contents>`;
    await answerWith(
      (number) =>
        `<ListBucketResult><Name>bucket</Name>${number % 100 ? '' : key(number)}${number < 500 ? truncated(number) : ''}</ListBucketResult>`,
    );
    expect(await listObjects()).toEqual(['k1100', 'k1200', 'k1300', 'k1400', 'k1500']);
  });

  const instances = async () => {
    for await (const each of aws.instances({})) expect(each).toBeDefined();
  };
  const tags = async () => {
    const pages = sdk.ec2().paginateDescribeTags({ client: await aws.ec2() }, {});
    for await (const each of pages) expect(each).toBeDefined();
  };
  it.each<[string, () => Promise<unknown>]>([
    ['instances', instances],
    ['tags', tags],
  ])('of %s whose pages are empty without an end is an error', async (_, list) => {
    const answer = (name: string, number: number) => `<${name}><nextToken>t${number}</nextToken></${name}>`;
    await answerWith((number) => answer(list === tags ? 'DescribeTagsResponse' : 'DescribeInstancesResponse', number));
    await expect(list()).rejects.toThrow('200 pages of a list that hold nothing new');
    expect(asked).toBe(200);
  });

  it('of tags without an end is an error', async () => {
    const items = '<item><key>a</key></item>'.repeat(20_000);
    await answerWith(
      (number) =>
        `<DescribeTagsResponse><tagSet>${items}</tagSet><nextToken>t${number}</nextToken></DescribeTagsResponse>`,
    );
    await expect(tags()).rejects.toThrow('a list of more than 100,000 entries');
    expect(asked).toBe(6);
  });

  it('of no objects is empty', async () => {
    await answerWith('<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount></ListBucketResult>');
    expect(await listObjects()).toEqual([]);
  });
});
