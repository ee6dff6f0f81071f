import { EventEmitter } from 'node:events';
import { repeatOptions, repeatingHere } from './repeated-options';
import { instancesList, nxRun } from './shell-words';

const OPTIONS = ['--region=eu-west-1', '--instance.pool=team', '--instance.tags.A=b c'];

it('repeats the options of the command in those that its messages name', async () => {
  const named = await repeatOptions(OPTIONS, async () => {
    await Promise.resolve();
    return [nxRun('m', 'remote-down', '--force'), nxRun('m', 'remote-down', '--instance=ID'), instancesList()];
  });
  expect(named).toEqual([
    "nx run m:remote-down --region=eu-west-1 --instance.pool=team '--instance.tags.A=b c' --force",
    'nx run m:remote-down --region=eu-west-1 --instance=ID',
    'npx nx-ec2 instances list --region=eu-west-1',
  ]);
  expect([nxRun('m', 'remote-down'), instancesList()]).toEqual(['nx run m:remote-down', 'npx nx-ec2 instances list']);
});

it('repeats those of each of several commands in one process, also in what an event calls', () => {
  const events = new EventEmitter();
  const said: string[] = [];
  for (const region of ['us-east-1', 'eu-west-1'])
    repeatOptions([`--region=${region}`], () =>
      events.on(
        'signal',
        repeatingHere(() => void said.push(nxRun('m', 'remote-logs'))),
      ),
    );
  events.emit('signal');
  expect(said).toEqual(['nx run m:remote-logs --region=us-east-1', 'nx run m:remote-logs --region=eu-west-1']);
});
