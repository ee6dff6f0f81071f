import type { Fixture } from '../local-aws/local-aws.fixture';
import { Pipeline, startPipeline } from './pipeline.fixture';

describe('a training whose instance lacks the tool of its environment', () => {
  let at: Fixture;
  let pipe: Pipeline;

  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => {
    pipe = await new Pipeline(at, 'auto').open();
    pipe.write('model/train.py', 'print("trained")\n');
    pipe.write('model/environment.yml', 'dependencies: [pip]\n');
  });
  afterEach(() => pipe.close());

  it('is refused before anything is sent', async () => {
    await pipe.forget();
    await expect(pipe.launch()).rejects.toMatchObject({
      code: 'TOOL_MISSING',
      message: expect.stringMatching(/^i-\S+ lacks conda: not on the PATH of \S+\.\nconda: use an AMI that has it/),
    });
    expect(await pipe.keys((key) => !key.includes('v2/runtime/'))).toEqual([]);
  });
});
