import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { resolveConfiguration } from '../config/configuration';
import { specHash, TAG } from '../instance/describe/ownership';
import { launchTagged } from '../instance/stop/tagged.fixture';
import { ACCOUNT } from '../local-aws/protocol/identity';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { Printer } from '../report/printer';
import { requiredTags } from './required-tags';
import { createRunContext, createInstanceContext } from './context';
import type { InstanceContext } from './types';

const KEY = `arn:aws:kms:eu-west-1:${ACCOUNT}:key/1234`;
/** What an uploader adds to a form for the object `x`. */
const FORM_OF_X = {
  'Content-Type': 'text/plain',
  'x-amz-checksum-sha256': createHash('sha256').update('x').digest('base64'),
};

describe("a context on a company's bucket", () => {
  let at: Fixture;
  let workspace: string;
  const contexts: InstanceContext[] = [];
  const before = { ...process.env };

  const silent = () => new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
  const configurationOf = (options: Record<string, unknown>) =>
    resolveConfiguration({
      workspaceRoot: workspace,
      projectName: 'model',
      projectRoot: 'model',
      nxJson: {},
      options: { bucket: 'bucket', instance: 'box', ...options },
      target: 'remote-sync',
      environment: {},
    });
  const open = async (options: Record<string, unknown>) => {
    const context = await createInstanceContext(configurationOf(options), 'model', workspace, silent());
    contexts.push(context);
    return context;
  };

  beforeAll(async () => {
    at = await startFixture();
    workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-context-'));
    Object.assign(process.env, at.aws.environment);
  });
  afterAll(async () => {
    for (const context of contexts) context.close();
    process.env = before;
    await at.close();
    rmSync(workspace, { recursive: true });
  });

  it('names the expected owner of the bucket in every request, and uses no other owner’s bucket', async () => {
    const own = (await open({ bucketOwner: ACCOUNT })).store;
    await own.put('a', Buffer.from('mine'));
    expect((await own.get('a', 100))?.toString()).toBe('mine');
    await own.upload('b', Readable.from([Buffer.from('streamed')]));

    const context = await open({ bucketOwner: '111111111111' });
    const { store } = context;
    await expect(context.preflight()).rejects.toThrow(/does not belong to account 111111111111/);
    await expect(store.put('a', Buffer.from('stolen'))).rejects.toThrow('AccessDenied');
    await expect(store.upload('b', Readable.from([Buffer.from('stolen')]))).rejects.toThrow('AccessDenied');
    await expect(store.getWithETag('a', 100, { strict: true })).rejects.toThrow('AccessDenied');
    await expect(store.delete(['a'])).rejects.toThrow('AccessDenied');
    await expect(store.delete(['a', 'b'])).rejects.toThrow('AccessDenied');
    expect((await own.get('a', 100))?.toString()).toBe('mine');
  });

  it('encrypts with the configured KMS key, whether it uploads whole objects, parts or by a form', async () => {
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

  describe('with a launch spec', () => {
    const machine = { type: 't3.micro', instanceProfile: 'training' };
    let tags: Record<string, string>;
    beforeEach(async () => {
      const runs = createRunContext(configurationOf({ instance: machine }), 'model', workspace, silent());
      const required = await requiredTags(runs);
      runs.close();
      const { instance } = configurationOf({ instance: machine });
      if (!('launchSpec' in instance)) throw new Error('it is no launch spec');
      tags = {
        [TAG.managed]: 'true',
        [TAG.key]: specHash(required.owner, instance.launchSpec),
        [TAG.workspace]: required.owner.workspace,
        [TAG.project]: required.owner.project,
        [TAG.owner]: required.owner.caller,
        [TAG.store]: required.store,
      };
    });

    it.each([TAG.managed, TAG.key, TAG.workspace, TAG.project, TAG.owner, TAG.store])(
      'does not use an instance whose tag %s differs',
      async (tag) => {
        const forged = await launchTagged(at, { ...tags, [tag]: 'other' });
        const without = await launchTagged(at, Object.fromEntries(Object.entries(tags).filter(([key]) => key !== tag)));
        await expect(open({ instance: machine })).rejects.toMatchObject({
          code: tag === TAG.store ? 'NOT_OWNER' : 'INSTANCE_MISSING',
        });
        const own = await launchTagged(at, tags);
        expect((await open({ instance: machine })).instances).toEqual([own]);
        await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [forged, without, own] }));
      },
    );

    it('fails if several instances match', async () => {
      const both = [await launchTagged(at, tags), await launchTagged(at, tags)];
      await expect(open({ instance: machine })).rejects.toMatchObject({ code: 'INSTANCE_AMBIGUOUS' });
      await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: both }));
    });
  });

  it('uses the configured role', async () => {
    const context = await open({ roleArn: `arn:aws:iam::${ACCOUNT}:role/trainer` });
    await context.preflight();
    expect(context.tree).not.toBe((await open({})).tree);
  });
});
