import type { InstanceContext } from '../../context/types';
import { execute } from './exec';

const INSTANCE = 'i-0123456789abcdef0';
const LOG = { offset: 0, length: 0, data: '', size: 1_000_000 };
const ENDED = { id: '20260101-000000-model-abcdef', instance: INSTANCE, outcome: 'succeeded', exitCode: 0 };

/** An instance on which a command has ended, and that sends no more of its log than it has been given. */
function contextOf(log: object) {
  const operations: string[] = [];
  const send = async ({ op }: { op: string }) => {
    operations.push(op);
    return { run: ENDED, log };
  };
  const context = {
    configuration: { projectRoot: 'model', train: { gracePeriod: 1000 } },
    project: 'model',
    tree: 't',
    instance: INSTANCE,
    printer: { log: () => undefined },
    at: () => ({ remote: { send }, assertInstanceExists: async () => undefined }),
  } as unknown as InstanceContext;
  return { context, operations };
}
const run = ({ context }: { context: InstanceContext }) =>
  execute(context, null, ['true'], new AbortController().signal, { onSend: () => undefined, onStart: () => undefined });

describe('remote-exec', () => {
  it('ends if an instance never sends the rest of a log that has ended', async () => {
    const instance = contextOf(LOG);
    await expect(run(instance)).rejects.toMatchObject({
      code: 'REPLY_INVALID',
      message: expect.stringContaining('its log has 0 of 1000000 bytes'),
    });
    expect(instance.operations).toEqual(['exec', 'poll', 'poll', 'poll']);
  });

  it('asks no more if the log is complete', async () => {
    const instance = contextOf({ ...LOG, size: 0 });
    await expect(run(instance)).resolves.toMatchObject({ exitCode: 0 });
    expect(instance.operations).toEqual(['exec']);
  });
});
