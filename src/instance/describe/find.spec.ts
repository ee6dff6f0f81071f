import { byUser } from '../../local-aws/ec2/instances/reason';
import { startFixture, type Fixture } from '../../local-aws/local-aws.fixture';
import { Aws } from '../../aws/clients';
import { findInstance, assertRunning, stateReason } from './find';

describe('an instance that no longer runs', () => {
  let at: Fixture;
  const before = { ...process.env };
  beforeAll(async () => {
    at = await startFixture();
    Object.assign(process.env, at.aws.environment);
  });
  afterAll(async () => {
    process.env = before;
    await at.close();
  });

  it("is refused with EC2's reason", async () => {
    const aws = new Aws({});
    const [box] = at.aws.instances.all();
    expect(await findInstance(aws, { id: box.id })).toMatchObject({ state: 'running', reason: null });
    await expect(assertRunning(aws, box.id)).resolves.toBeUndefined();
    at.aws.instances.change(box, 'terminated', byUser());
    await expect(assertRunning(aws, box.id)).rejects.toMatchObject({
      code: 'INSTANCE_GONE',
      what: `The instance ${box.id} is terminated (Client.UserInitiatedShutdown: User initiated shutdown): whatever was running on it was lost.`,
    });
  });

  it.each([
    [undefined, null],
    [{ Message: 'no code' }, null],
    [
      { Code: 'Server.InternalError', Message: 'Server.InternalError: Internal error' },
      'Server.InternalError: Internal error',
    ],
    [{ Code: 'Server.Other', Message: 'a text\u001b[2J' }, 'Server.Other: a text'],
  ])('has the reason of %j', (StateReason, expected) => {
    expect(stateReason({ StateReason })).toBe(expected);
  });
});
