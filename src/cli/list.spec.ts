import { list, type ListOptions } from './list';
import { InventoryFixture, MINUTE, OTHER, printed } from './made.fixture';

const HOUR = 60 * MINUTE;
const today = new Date().toISOString().slice(0, 10);

describe('nx-ec2 instances list', () => {
  let made: InventoryFixture;
  let ids: Record<string, string>;
  beforeAll(async () => {
    made = await InventoryFixture.start();
    const mine = made.tags({
      price: `0.5 spot eu-west-1a ${today} ec2`,
      lifetime: '36000',
      idle: '3600',
      run: '20260101-000000-model-aaaaaa',
      deadline: String(Date.now() + 5 * HOUR + 30 * MINUTE),
    });
    const market = { InstanceMarketOptions: { MarketType: 'spot' as const } };
    const evil = 'x\x1b]0;owned\x07\n::error::y';
    ids = {
      mine: await made.launch(mine, market),
      theirs: await made.launch(
        made.tags({ owner: OTHER, project: evil, run: evil, price: `1.25 on-demand eu-west-1 ${today} pricing` }),
      ),
      unpriced: await made.launch(made.tags({ owner: OTHER, price: '1 \x1b[2J', lifetime: undefined })),
      foreign: await made.launch({ Name: "somebody else's", 'nx-ec2': 'true' }),
      loose: await made.template('loose', made.tags()),
    };
    await made.age(2 * HOUR + 5_000);
  });
  afterAll(() => made.close());

  const run = (options: Partial<ListOptions> = {}) => printed((printer) => list(options, printer), options.json);

  it('shows the owner, cost and end of each managed instance, and no other instance', async () => {
    const { out, error } = await run();
    expect(error).toBeNull();
    expect(out).toMatch(
      new RegExp(
        `^Yours in eu-west-1\\nID.*\\n${ids.mine} +running +t3\\.micro +spot +local +model +acme +20260101-000000-model-aaaaaa +2h 00m +\\$1\\.00 +in 5h (29|30)m \\(deadline\\), or 1h 00m idle\\n`,
      ),
    );
    expect(out).toMatch(
      new RegExp(
        `The team's in eu-west-1\\nID.*\\n${ids.theirs} +running .* bea .*\\$2\\.50 +in 21h 59m \\(lifetime\\)\n`,
      ),
    );
    expect(out).toMatch(new RegExp(`${ids.unpriced} .* +2h 00m +never\n`));
    expect(out).toMatch(/Total: \$1\.75 an hour, and 1 instance of unknown price, without disks\.\n$/);
    expect(out).toMatch(new RegExp(`${ids.loose} +- +launch template +local +model`));
    expect(out).not.toContain(ids.foreign);
    expect(out).not.toMatch(/\x1b|\x07|\n::error/);
  });

  it('shows only the instances that the options select', async () => {
    expect((await run({ mine: true })).out).not.toContain(ids.theirs);
    const { out } = await run({ json: true, project: 'model', mine: true });
    expect(JSON.parse(out)).toMatchObject({
      success: true,
      region: 'eu-west-1',
      perHour: 0.5,
      unknown: 0,
      made: [
        {
          kind: 'instance',
          id: ids.mine,
          mine: true,
          market: 'spot',
          ends: { by: 'deadline' },
          cost: expect.closeTo(1, 1),
        },
        { kind: 'launch template', id: ids.loose },
      ],
    });
    expect((await run({ project: 'none' })).out).toBe(
      'No instances or other resources of none were launched by nx-ec2 in eu-west-1.\n',
    );
  });

  it('names the permissions that it lacks', async () => {
    made.at.aws.faults.add({
      service: 'ec2',
      action: 'DescribeFleets',
      error: { code: 'UnauthorizedOperation', message: 'not you', status: 403 },
    });
    const { error } = await run();
    expect(error).toMatchObject({
      code: 'INVENTORY',
      message: expect.stringMatching(/fleets that nx-ec2 launched(.|\n)*UnauthorizedOperation: not you/),
    });
  });
});
