import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SSMClient, SendCommandCommand } from '@aws-sdk/client-ssm';
import type { World } from '../worlds';
import { until } from '../../src/system/until.fixture';
import { artifact } from './training';

const NAMES = Array.from({ length: 12 }, (_, index) => `many-${String(index).padStart(2, '0')}`);
const SCRIPT = `import json, os, time
begun = time.time()
time.sleep(0.3)
with open(os.path.join(os.environ["NX_EC2_OUTPUT_DIR"], "result.json"), "w") as file:
    json.dump({"project": os.environ["NX_EC2_PROJECT"], "begun": begun, "ended": time.time()}, file)
`;

/** More trainings at once than an instance takes commands, each with the instance to itself. */
export function many(at: () => World): void {
  it.concurrent(
    'twelve projects that need an instance for themselves train one after another',
    async () => {
      const { nx, aws, launch } = at();
      const instance = launch();
      for (const name of NAMES)
        nx.project(name, SCRIPT, { bucket: 'nx-ec2-local', instance, train: { resources: { exclusive: true } } });
      const free = join(aws.instances.disk(instance), 'free');
      // Five that run and five that wait: the instance takes no more.
      const ssm = new SSMClient({
        endpoint: aws.url,
        region: 'eu-west-1',
        credentials: {
          accessKeyId: aws.environment.AWS_ACCESS_KEY_ID,
          secretAccessKey: aws.environment.AWS_SECRET_ACCESS_KEY,
        },
      });
      for (let sent = 0; sent < 10; sent++) {
        const Parameters = { commands: [`while [ ! -e '${free}' ]; do sleep 0.2; done`] };
        await ssm.send(
          new SendCommandCommand({ DocumentName: 'AWS-RunShellScript', InstanceIds: [instance], Parameters }),
        );
      }
      const all = nx.command([
        'run-many',
        '-t',
        'remote-train',
        `--projects=${NAMES}`,
        '--parallel=12',
        '--output-style=stream',
      ]);
      const refused = () => aws.commands.filter((each) => each.instance === instance && each.refused);
      await until(() => refused().length > 2, { what: () => `commands that are refused:\n${all.text}` });
      writeFileSync(free, '');
      // Nothing tells of a refusal until the delivery is overdue: these are at once, not after 30 s.
      for (const each of refused()) each.deliveryTimeout = 0;
      await all.ends(0);
      const results = NAMES.map((name) => JSON.parse(artifact(nx, name, 'result.json')!));
      expect(results.map(({ project }) => project)).toEqual(NAMES);
      const turns = [...results].sort((a, b) => a.begun - b.begun);
      for (const [index, turn] of turns.slice(1).entries()) expect(turn.begun).toBeGreaterThan(turns[index].ended);
      const changed = NAMES.slice(0, 2);
      for (const name of changed)
        nx.project(name, `${SCRIPT}# changed\n`, {
          bucket: 'nx-ec2-local',
          instance,
          train: { resources: { exclusive: true } },
        });
      const files = changed.map((name) => `models/${name}/train.py`);
      const affected = nx.command(['affected', '-t', 'remote-train', `--files=${files}`, '--output-style=stream']);
      await affected.ends(0);
      expect(NAMES.filter((name) => affected.text.includes(`${name}: Training`))).toEqual(changed);
    },
    400_000,
  );
}
