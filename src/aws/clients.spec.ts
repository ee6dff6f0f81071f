import { execFile } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { promisify } from 'node:util';
import { DescribeInstancesCommand } from '@aws-sdk/client-ec2';
import { HeadObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { DescribeInstanceInformationCommand, StartSessionCommand } from '@aws-sdk/client-ssm';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { connectStream } from '../command/session/connection';
import { ACCOUNT, LOCAL_IDENTITY } from '../local-aws/protocol/identity';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { Aws } from './clients';
import type { AwsSettings } from './credentials';
import { awsProblem } from './reason';
import { ownCertificate, startProxy, startTls, type Proxy } from './tls.fixture';

/** No name server knows it: who reaches it, does so through the proxy. */
const HOST = 'aws.nx-ec2.test';
const ROLE = `arn:aws:iam::${ACCOUNT}:role/trainer`;
const ASSUMED = `arn:aws:sts::${ACCOUNT}:assumed-role/trainer`;

/** Local AWS as a company's network shows AWS: by TLS of an authority of its own, through a proxy with a password. */
describe('Aws', () => {
  let at: Fixture;
  let directory: string;
  let bundle: string;
  let tls: { port: number; close(): Promise<void> };
  let proxy: Proxy;
  const before = { ...process.env };
  const made: Aws[] = [];

  const open = (settings: AwsSettings = {}) => {
    const aws = new Aws(settings);
    made.push(aws);
    return aws;
  };
  const caller = async (aws: Aws) => (await (await aws.sts()).send(new GetCallerIdentityCommand({}))).Arn;
  const proxyUrl = () => `http://user:p%40ss%20word@127.0.0.1:${proxy.port}`;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-tls-'));
    at = await startFixture({ hosts: [HOST] });
    const { accessKeyId, secretAccessKey } = at.clientOptions.credentials;
    const certificate = ownCertificate(HOST);
    bundle = join(directory, 'authority.pem');
    writeFileSync(bundle, certificate.cert);
    // The SDK reads it once.
    const keys = `aws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`;
    const answer = { Version: 1, AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey };
    writeFileSync(join(directory, 'answer.json'), JSON.stringify(answer));
    writeFileSync(
      join(directory, 'config'),
      `[profile hangs]\ncredential_process = sleep 3\n\n[profile keys]\n${keys}\n[profile program]\ncredential_process = cat ${join(directory, 'answer.json')}\n\n` +
        `[profile role]\nrole_arn = ${ROLE}\nrole_session_name = from-profile\nsource_profile = keys\n`,
    );
    [tls, proxy] = await Promise.all([startTls(certificate, at.aws.port), startProxy(HOST, 'user', 'p@ss word')]);
  });
  afterAll(async () => {
    process.env = before;
    await Promise.all([tls.close(), proxy.close()]);
    await at.close();
    rmSync(directory, { recursive: true });
  });
  beforeEach(() => {
    const kept = Object.entries(before).filter(([name]) => !/^(AWS_|NODE_EXTRA_CA|(https?|no|all)_proxy$)/i.test(name));
    process.env = {
      ...Object.fromEntries(kept),
      // Nothing of whoever runs the tests.
      AWS_CONFIG_FILE: join(directory, 'config'),
      AWS_SHARED_CREDENTIALS_FILE: join(directory, 'credentials'),
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_REGION: 'eu-west-1',
      AWS_ACCESS_KEY_ID: at.clientOptions.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: at.clientOptions.credentials.secretAccessKey,
      AWS_ENDPOINT_URL: `https://${HOST}:${tls.port}`,
      HTTPS_PROXY: proxyUrl(),
      AWS_CA_BUNDLE: bundle,
    };
    proxy.asked.length = 0;
  });
  afterEach(() => {
    for (const aws of made.splice(0)) aws.close();
  });

  it('reaches every service through the proxy, trusting AWS_CA_BUNDLE', async () => {
    const aws = open();
    const [s3, ssm, ec2] = await Promise.all([aws.s3(), aws.ssm(), aws.ec2()]);
    await s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'a', Body: 'through' }));
    expect((await s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }))).KeyCount).toBe(1);
    expect((await ssm.send(new DescribeInstanceInformationCommand({}))).InstanceInformationList).toHaveLength(1);
    expect((await ec2.send(new DescribeInstancesCommand({}))).Reservations).toHaveLength(1);
    expect(await caller(aws)).toBe(LOCAL_IDENTITY.arn);
    expect(proxy.asked.length).toBeGreaterThanOrEqual(4);
    expect(new Set(proxy.asked)).toEqual(new Set([`${HOST}:${tls.port}`]));
  });

  it('opens a WebSocket through the proxy, trusting AWS_CA_BUNDLE', async () => {
    const aws = open();
    const ssm = await aws.ssm();
    const [{ InstanceId }] = (await ssm.send(new DescribeInstanceInformationCommand({}))).InstanceInformationList!;
    const started = await ssm.send(
      new StartSessionCommand({
        Target: InstanceId,
        DocumentName: 'AWS-StartNonInteractiveCommand',
        Parameters: { command: ['true'] },
      }),
    );
    proxy.asked.length = 0;
    const url = started.StreamUrl!.replace(at.aws.url.replace('http', 'ws'), `wss://${HOST}:${tls.port}`);
    const came = await new Promise<Buffer>((resolve, reject) => {
      const on = { message: resolve, close: (why: string) => reject(new Error(why)), garbage: reject };
      connectStream(aws, { url, token: started.TokenValue! }, 'client', on).catch(reject);
    });
    expect(came.toString()).toContain('RequestedClientActions');
    expect(proxy.asked).toEqual([`${HOST}:${tls.port}`]);
  });

  it('gives up a source of credentials that never answers: a container endpoint, a credential_process', async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const warned = jest.spyOn(console, 'warn').mockImplementation();
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
    const open = (profile?: string) => {
      const aws = new Aws({ profile }, 300);
      made.push(aws);
      return aws;
    };
    process.env.AWS_CONTAINER_CREDENTIALS_FULL_URI = `http://127.0.0.1:${port}/role`;
    for (const aws of [open(), open('hangs')]) {
      const error = await caller(aws).catch((reason: unknown) => awsProblem('INTERNAL', 'No.', reason));
      expect(error).toMatchObject({
        code: 'CREDENTIALS',
        message: expect.stringContaining('has not answered for 0.3 s'),
      });
    }
    warned.mockRestore();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  });

  it('says what to set if the certificate authority is not known', async () => {
    delete process.env.AWS_CA_BUNDLE;
    const error = await caller(open()).catch((reason: unknown) => awsProblem('INTERNAL', 'No.', reason));
    expect((error as Error).message).toMatch(/certificate[^]*AWS_CA_BUNDLE or NODE_EXTRA_CA_CERTS/);
  });

  it('names a bundle that can not be read', async () => {
    process.env.AWS_CA_BUNDLE = join(directory, 'nope.pem');
    await expect(caller(open())).rejects.toThrow(/AWS_CA_BUNDLE names .*nope\.pem/);
  });

  it('says so if the proxy refuses the connection', async () => {
    process.env.HTTPS_PROXY = `http://user:wrong@127.0.0.1:${proxy.port}`;
    const error = await caller(open()).catch((reason: unknown) => awsProblem('INTERNAL', 'No.', reason));
    expect((error as Error).message).toMatch(/The proxy requires[^]*HTTPS_PROXY/);
    expect((error as Error).message).not.toContain('wrong');
  });

  it.each([
    ['HTTPS_PROXY', 'http://user:PASS/WORD@127.0.0.1:1'],
    ['HTTPS_PROXY', 'http://user:PASS%WORD@127.0.0.1:1'],
    ['https_proxy', 'user:PASS/WORD@127.0.0.1:1'],
    ['AWS_ENDPOINT_URL', 'http://user:PASS/WORD@127.0.0.1:1'],
    ['AWS_ENDPOINT_URL_STS', 'PASSWORD:1'],
  ])('names the variable alone where its value is no address: %s=%s', async (name, value) => {
    delete process.env.HTTPS_PROXY;
    process.env[name] = value;
    const error = await caller(open()).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ADDRESS_INVALID' });
    expect(inspect(error)).toContain(`${name} is not set to a URL`);
    expect(inspect(error)).not.toMatch(/PASS|WORD/);
  });

  it('names endpoint_url of a profile where it is no address, without its password', async () => {
    delete process.env.AWS_ENDPOINT_URL;
    process.env.AWS_CONFIG_FILE = join(directory, 'no-address');
    writeFileSync(process.env.AWS_CONFIG_FILE, '[default]\nendpoint_url = http://user:PASS/WORD@127.0.0.1:1\n');
    const error = await caller(open()).catch((reason: unknown) => awsProblem('INTERNAL', 'No.', reason));
    expect((error as Error).message).toMatch(/Check "endpoint_url" of the profile/);
    expect((error as Error).message).not.toMatch(/PASS|WORD/);
  });

  it('connects to loopback, and to the hosts of NO_PROXY, without the proxy', async () => {
    process.env.AWS_ENDPOINT_URL = at.aws.url;
    expect(await caller(open())).toBe(LOCAL_IDENTITY.arn);
    process.env.AWS_ENDPOINT_URL = `https://${HOST}:${tls.port}`;
    process.env.NO_PROXY = '.nx-ec2.test';
    await expect(caller(open())).rejects.toThrow(/ENOTFOUND|EAI_AGAIN/);
    expect(proxy.asked).toEqual([]);
  });

  it('assumes a role through the same proxy, and works as that role', async () => {
    const aws = open({ roleArn: ROLE });
    expect(await caller(aws)).toBe(`${ASSUMED}/nx-ec2`);
    await (await aws.s3()).send(new HeadObjectCommand({ Bucket: 'bucket', Key: 'a' }));
    expect(new Set(proxy.asked)).toEqual(new Set([`${HOST}:${tls.port}`]));
  });

  it.each([
    ['keys', 'keys', LOCAL_IDENTITY.arn],
    ['a program', 'program', LOCAL_IDENTITY.arn],
    ['a role on top of another profile', 'role', `${ASSUMED}/from-profile`],
  ])('takes a profile with %s', async (_name, profile, arn) => {
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
    expect(await caller(open({ profile }))).toBe(arn);
    expect(new Set(proxy.asked)).toEqual(new Set([`${HOST}:${tls.port}`]));
  });

  it.each([
    ['the configuration', { profile: 'kyes' }, {}],
    ['AWS_PROFILE', {}, { AWS_PROFILE: 'kyes' }],
  ])('names the profiles that exist where %s names another', async (where, settings, environment) => {
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
    Object.assign(process.env, environment);
    appendFileSync(join(directory, 'config'), '[sso-session corp]\nsso_region = x\n[ profile "two words" ] # mine\n');
    const asked = caller(open(settings)).catch((error: unknown) => awsProblem('CREDENTIALS', 'Who?', error));
    expect(await asked).toMatchObject({
      code: 'PROFILE_UNKNOWN',
      message: expect.stringContaining(
        `There is no profile "kyes" in ${join(directory, 'config')} or ${join(directory, 'credentials')} (${where === 'AWS_PROFILE' ? where : '"profile"'} names it).\nThey have: hangs, keys, program, role, two words.`,
      ),
    });
    delete process.env.AWS_REGION;
    await expect(open(settings).region()).rejects.toMatchObject({ code: 'PROFILE_UNKNOWN' });
  });

  it('trusts NODE_EXTRA_CA_CERTS, which Node reads at its start', async () => {
    const script = `
      const { transformFileSync } = require('@swc/core');
      require.extensions['.ts'] = (module, file) =>
        module._compile(transformFileSync(file, { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } }).code, file);
      const { Aws } = require(${JSON.stringify(join(__dirname, 'clients.ts'))});
      const { GetCallerIdentityCommand } = require('@aws-sdk/client-sts');
      const aws = new Aws({});
      aws.sts().then((sts) => sts.send(new GetCallerIdentityCommand({}))).then(({ Arn }) => console.log(Arn)).finally(() => aws.close());`;
    const { AWS_CA_BUNDLE: _, ...environment } = process.env;
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], {
      env: { ...environment, NODE_EXTRA_CA_CERTS: bundle },
    });
    expect(stdout.trim()).toBe(LOCAL_IDENTITY.arn);
  });
});
