import { Problem } from '../../report/problem';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { cancelUnverified } from './cancel-unverified';

describe('cancelling a run whose record is missing', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => void (pipe = await new Pipeline(at, 'store').open()));
  afterEach(() => pipe.close());

  it.each([
    ['reports its end', false],
    ['ends before it can report it', true],
  ])('succeeds if the instance %s', async (_, isGone) => {
    pipe.write('model/train.py', 'import time\ntime.sleep(600)\n');
    const { run } = await pipe.launch();
    const { remote } = pipe.context.at(run.instance);
    const send = remote.send.bind(remote);
    let asked = false;
    jest.spyOn(remote, 'send').mockImplementation(async (operation, options) => {
      if (isGone && asked) throw new Problem('INSTANCE_GONE', `${run.instance} is terminated.`);
      asked ||= operation.op === 'cancel';
      return send(operation, options);
    });
    const { signal } = new AbortController();
    expect(await cancelUnverified(pipe.context, run.id, false, signal)).toMatchObject({
      run: { id: run.id, state: 'ended', outcome: 'cancelled' },
      already: false,
    });
    expect(pipe.said.at(-1)).toMatch(isGone ? `${run.instance} has ended, and ${run.id} with it.` : /Asked .* to stop/);
  });
});
