import { randomBytes } from 'node:crypto';
import { Aws } from '../aws/clients';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { StoreKeys } from '../store/keys';
import { Store } from '../store/store';
import { Remote } from './remote';

describe('a confidential plan', () => {
  let at: Fixture;
  let aws: Aws;
  const environment = { ...process.env };
  beforeAll(async () => {
    at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({ region: 'eu-west-1' });
  });
  afterAll(async () => {
    aws.close();
    await at.close();
    process.env = environment;
  });

  it('is in the store only sealed, in the command not at all, and is gone after it', async () => {
    const written: [string, Buffer][] = [];
    class Watched extends Store {
      override put(...of: Parameters<Store['put']>) {
        written.push([of[0], of[1]]);
        return super.put(...of);
      }
    }
    const store = new Watched(aws, { bucket: 'bucket' });
    const remote = new Remote(aws, store, new StoreKeys('', 'model'), at.aws.named.get('box')!.id, {});
    const secret = randomBytes(15).toString('hex');
    const asked = remote.send(
      { op: 'cancel', run: `20260101-000000-model-${secret}`, project: 'model', tree: 't', grace: 1 },
      { comment: 'test', confidential: true },
    );
    // The instance has read it: there is no such run.
    await expect(asked).rejects.toMatchObject({
      remoteCode: 'NO_RUN',
      detail: { run: expect.stringContaining(secret) },
    });
    const [[key, plan]] = written.filter(([name]) => name.includes('/plan/'));
    expect(plan.subarray(0, 4).toString()).toBe('NXS1');
    expect(at.aws.commands.some(({ script }) => script.includes(secret))).toBe(false);
    expect(await store.get(key)).toBe(null);
  });
});
