import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { resolveConfiguration } from '../config/configuration';
import { ACCOUNT } from '../local-aws/identity';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { Reporter } from '../report/reporter';
import { openSession, type Session } from './session';

const KEY = `arn:aws:kms:eu-west-1:${ACCOUNT}:key/1234`;
/** What an uploader adds to a form for the object `x`. */
const FORM_OF_X = {
  'Content-Type': 'text/plain',
  'x-amz-checksum-sha256': createHash('sha256').update('x').digest('base64'),
};

describe("a session on a company's bucket", () => {
  let at: Fixture;
  let workspace: string;
  const sessions: Session[] = [];
  const before = { ...process.env };

  const open = async (options: Record<string, unknown>) => {
    const configuration = resolveConfiguration({
      workspaceRoot: workspace,
      projectName: 'model',
      projectRoot: 'model',
      nxJson: {},
      options: { bucket: 'bucket', instance: 'box', ...options },
      target: 'remote-sync',
      environment: {},
    });
    const reporter = new Reporter({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
    const session = await openSession(configuration, 'model', workspace, reporter);
    sessions.push(session);
    return session;
  };

  beforeAll(async () => {
    at = await startFixture();
    workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-session-'));
    Object.assign(process.env, at.aws.environment);
  });
  afterAll(async () => {
    for (const session of sessions) session.close();
    process.env = before;
    await at.close();
    rmSync(workspace, { recursive: true });
  });

  it('says in every request whose bucket it expects, and touches nobody else’s', async () => {
    const own = (await open({ bucketOwner: ACCOUNT })).store;
    await own.put('a', Buffer.from('mine'));
    expect((await own.get('a', 100))?.toString()).toBe('mine');
    await own.upload('b', Readable.from([Buffer.from('streamed')]));

    const session = await open({ bucketOwner: '111111111111' });
    const { store } = session;
    await expect(session.preflight()).rejects.toThrow(/does not belong to account 111111111111/);
    await expect(store.put('a', Buffer.from('stolen'))).rejects.toThrow('AccessDenied');
    await expect(store.upload('b', Readable.from([Buffer.from('stolen')]))).rejects.toThrow('AccessDenied');
    await expect(store.getVersion('a', 100, { strict: true })).rejects.toThrow('AccessDenied');
    await expect(store.delete(['a'])).rejects.toThrow('AccessDenied');
    await expect(store.delete(['a', 'b'])).rejects.toThrow('AccessDenied');
    expect((await own.get('a', 100))?.toString()).toBe('mine');
  });

  it('encrypts with the KMS key that is named, by every way in: whole, in parts, by a form', async () => {
    const { store } = await open({ kmsKeyId: KEY });
    await store.put('kms/whole', Buffer.from('x'));
    await store.upload('kms/parts', Readable.from([Buffer.alloc(9 * 1024 * 1024)]));
    const { url, fields } = await store.presignPost('kms/');
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...fields, ...FORM_OF_X, key: 'kms/form' })) form.append(name, value);
    form.append('file', new Blob(['x']), 'form');
    expect((await fetch(url, { method: 'POST', body: form })).status).toBe(204);
    for (const Key of ['kms/whole', 'kms/parts', 'kms/form']) {
      expect(await at.s3.send(new HeadObjectCommand({ Bucket: 'bucket', Key }))).toMatchObject({
        ServerSideEncryption: 'aws:kms',
        SSEKMSKeyId: KEY,
      });
    }
  });

  it('works as the role that is named', async () => {
    const session = await open({ roleArn: `arn:aws:iam::${ACCOUNT}:role/trainer` });
    await session.preflight();
    expect(session.tree).not.toBe((await open({})).tree);
  });
});
