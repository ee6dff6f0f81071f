import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { now, run } from './contender';
import { driven } from './driver';

export interface Task {
  source: string;
  archive: string;
  target: string;
  instance: string;
}

/** Seconds between looks at a command; the last one again and again. */
const POLLS = [2, 2, 4, 8, 10];

driven(async ({ source, archive, target, instance }: Task) => {
  const begun = now();
  await run('tar', ['czf', archive, '-C', source, '.']);
  const { S3Client, GetObjectCommand } = await import('@aws-sdk/client-s3');
  const { Upload } = await import('@aws-sdk/lib-storage');
  const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
  const { SSMClient, SendCommandCommand, GetCommandInvocationCommand } = await import('@aws-sdk/client-ssm');
  const [s3, ssm] = [new S3Client({ forcePathStyle: true }), new SSMClient({})];
  const object = { Bucket: 'bench', Key: 'model.tar.gz' };
  await new Upload({ client: s3, params: { ...object, Body: createReadStream(archive) } }).done();
  const url = await getSignedUrl(s3, new GetObjectCommand(object));

  const command = async (script: string) => {
    const sent = await ssm.send(
      new SendCommandCommand({
        DocumentName: 'AWS-RunShellScript',
        InstanceIds: [instance],
        Parameters: { commands: [script] },
      }),
    );
    for (let look = 0; ; look++) {
      await sleep(POLLS[Math.min(look, POLLS.length - 1)] * 1000);
      const CommandId = sent.Command!.CommandId;
      const { Status, StandardErrorContent } = await ssm.send(
        new GetCommandInvocationCommand({ CommandId, InstanceId: instance }),
      );
      if (Status === 'Success') return;
      if (Status !== 'Pending' && Status !== 'InProgress') throw new Error(`${Status}: ${StandardErrorContent}`);
    }
  };
  await command(`mkdir -p '${target}'`);
  await command(`curl -sSf -o '${target}.tar.gz' '${url}' && tar xzf '${target}.tar.gz' -C '${target}'`);
  await command(`tar tzf '${target}.tar.gz' >/dev/null && test -d '${target}'`);
  return { begun };
});
