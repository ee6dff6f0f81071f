import { until } from '../../system/until.fixture';
import { PoolShop } from './pool.fixture';

// Node resolves the name of the built file.
jest.mock('./start-in-pool.js', () => jest.requireActual('./start-in-pool'), { virtual: true });

const NAMES = ['a', 'b', 'c', 'd'];

describe('a pool of spot instances', () => {
  let at: PoolShop;
  beforeAll(async () => {
    at = await PoolShop.open('spot', NAMES, { spot: true, size: 1 });
  });
  beforeEach(() => at.begin());
  afterEach(() => at.end());
  afterAll(() => at.close());

  it('continues a run on another member after a notice, from its checkpoint, with the client that follows it', async () => {
    const training = at.run('remote-train', 'a', 'wait');
    await at.noted(/^start anew wait 1/);
    at.shop.at.aws.interrupt(at.members()[0].id);
    await at.noted(/^start again wait 2/);
    at.go('wait');
    expect(await training).toMatchObject({ attempts: 2 });
    expect(at.members()).toHaveLength(1);
    expect(at.told()).toEqual(['start anew wait 1', 'start again wait 2', 'end wait 2']);
  });

  it('continues a run that trained and those that waited on another member, after a loss without notice', async () => {
    const trains = at.run('remote-train', 'a', 'wait');
    await at.noted(/^start anew wait 1/);
    const [member] = at.members();
    const others = ['b', 'c'].map((project) => at.run('remote-train', project, `of ${project}`));
    await until(() => at.recorded(member.id) === 3);
    at.lose(member);
    await at.noted(/^start again wait 2/);
    at.go('wait');
    await Promise.all([trains, ...others]);
    const ends = at.told().filter((turn) => turn.startsWith('end'));
    expect(ends.map((turn) => turn.slice(0, -2)).sort()).toEqual(['end of b', 'end of c', 'end wait']);
    expect(at.told().filter((turn) => /^start .* [23]$/.test(turn))).toHaveLength(3);
    expect(at.members()).toHaveLength(1);
  });

  it('continues a run without a client when the same command is run again', async () => {
    const { run: id } = await at.run('remote-submit', 'a', 'wait');
    await at.noted(/^start anew wait 1/);
    at.shop.at.aws.interrupt(at.members()[0].id);
    await until(async () => {
      const { runs } = await at.shop.run<{ runs: { state: string }[] }>('remote-status', {
        project: 'a',
        instance: at.spec(),
        run: id,
      });
      return runs[0].state === 'ended';
    });
    expect(at.shop.printed).toMatch(/run the same command to resume it on another instance/);
    at.go('wait');
    expect(await at.run('remote-train', 'a', 'wait')).toMatchObject({ run: id, attempts: 2 });
    expect(at.told()).toEqual(['start anew wait 1', 'start again wait 2', 'end wait 2']);
  });
});
