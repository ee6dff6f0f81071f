import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from '../local-aws/link/faults';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { collectArtifacts } from './artifacts/collect';
import { Pipeline, startPipeline } from './pipeline.fixture';

const CONDITIONS = ['if-none-match', 'if-match'];
const LACKS: [string, string[]][] = [
  ['conditional writes', CONDITIONS],
  [
    'conditional writes and checksums',
    [...[...CONDITIONS, 'x-amz-sdk-checksum-algorithm', 'x-amz-checksum-crc32', 'x-amz-checksum-sha256']],
  ],
];

describe.each(LACKS)('a training on an S3 server that lacks %s', (_, headers) => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => {
    at = await startPipeline();
    const lacks: Fault = { service: 's3', action: 'PUT', headers, times: 1_000_000 };
    at.aws.faults.add({ ...lacks, error: { code: 'NotImplemented', message: 'A header is not known.', status: 501 } });
    pipe = await new Pipeline(at, 'auto').open();
    pipe.write('model/weights', Buffer.alloc(200_000, 'w'));
    pipe.write(
      'model/train.py',
      'import os\nprint("trained")\n' +
        'out = os.environ["NX_EC2_OUTPUT_DIR"]\nopen(os.path.join(out, "model.bin"), "w").write("model")\n',
    );
  });
  afterAll(async () => {
    pipe.close();
    await at.close();
  });

  it('ends with its result, its log and its artifacts', async () => {
    const { run } = await pipe.launch();
    const { run: record, log } = await pipe.follow(run);
    expect([record.state, record.outcome]).toEqual(['ended', 'succeeded']);
    expect(String(log)).toContain('trained');
    const { directory } = await collectArtifacts(pipe.context, record);
    expect(readFileSync(join(pipe.workspace, directory, 'model.bin'), 'utf8')).toBe('model');
  });

  it.each([
    ['without a client', {}, { detached: true }],
    ['by the role alone', { storeAccess: 'role' }, {}],
  ])('does not start %s, and says how to start it', async (_how, options, request) => {
    await pipe.open(options);
    pipe.write('model/train.py', 'print("never")\n');
    await expect(pipe.launch(request)).rejects.toMatchObject({
      code: 'UPLOAD_FAILED',
      next: expect.stringMatching(/lacks conditional writes or checksums.*Use remote-train/),
    });
    expect(await pipe.keys((key) => key.endsWith('record.json'))).toHaveLength(1);
  });
});

describe('an S3 server without conditional writes', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => {
    at = await startPipeline();
    const error = { code: 'NotImplemented', message: 'A header is not known.', status: 501 };
    at.aws.faults.add({ service: 's3', action: 'PUT', headers: CONDITIONS, times: 1_000_000, error });
  });
  afterEach(() => pipe.close());
  afterAll(() => at.close());

  it.each([null, '"0123456789abcdef0123456789abcdef"'])(
    'gets no unconditional write in place of a conditional one, which would replace %s',
    async (etag) => {
      pipe = await new Pipeline(at, 'auto').open();
      await expect(pipe.context.store.compareAndSwap('key', Buffer.from('body'), etag)).rejects.toMatchObject({
        code: 'CONDITIONAL_WRITES',
        what: expect.stringMatching(/does not implement conditional writes/),
        next: expect.stringMatching(/Launching an instance .*Set "instance" to one that exists/),
      });
      expect(await pipe.context.store.get('key', 10)).toBeNull();
    },
  );

  it('says which transport is used if it is not the configured one', async () => {
    pipe = await new Pipeline(at, 'store').open();
    pipe.write('model/a', Buffer.alloc(200_000, 'a'));
    await expect(pipe.sync()).rejects.toMatchObject({ next: expect.stringMatching(/"transport": "auto"/) });
  });
});
