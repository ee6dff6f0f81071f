import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

describe('remote-exec', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', '');
    await shop.run('remote-sync');
  });
  afterAll(() => shop.close());

  it('stops a command that has started while nobody has answered yet', async () => {
    const there = (name: string) => existsSync(join(shop.memory, name));
    const command = ['sh', '-c', `trap "touch ended; exit 1" TERM; cd ${shop.memory}; touch begun; sleep 600 & wait`];
    shop.at.aws.faults.add({ service: 'ssm', action: 'GetCommandInvocation', delay: 5_000, times: 1 });
    const ended = shop.run('remote-exec', { command }).catch((error: Error) => error.message);
    await until(() => there('begun'));
    process.emit('SIGINT', 'SIGINT');
    expect(await ended).toMatch(/The command may have been started on i-\w+ as \S+-model-\w+; it is asked to stop\./);
    await until(() => there('ended'));
  });
});
