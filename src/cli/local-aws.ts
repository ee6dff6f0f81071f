import { resolve } from 'node:path';
import { duration } from '../config/units';
import { readFileSync } from 'node:fs';
import type { Fault } from '../local-aws/faults';
import { startLocalAws } from '../local-aws/server';
import { networkProfile } from './network-profile';

interface Options {
  port: string;
  directory: string;
  region: string;
  bucket: string;
  instance: string;
  boot: string;
  agentChannel: string;
  faults?: string;
  network?: string;
  json?: boolean;
}

/** Runs local AWS until it is told to stop. */
export async function localAws(options: Options): Promise<void> {
  const port = Number(options.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Error(`--port takes 0 to 65535, not ${options.port}`);
  const { agentChannel } = options;
  if (agentChannel !== 'gateway' && agentChannel !== 'ec2messages')
    throw new Error(`--agent-channel: write gateway or ec2messages, not ${agentChannel}`);
  const aws = await startLocalAws({
    port,
    directory: resolve(options.directory),
    region: options.region,
    buckets: [options.bucket],
    instances: [options.instance],
    boot: bootTime(options.boot),
    agentChannel,
    faults: options.faults ? (JSON.parse(readFileSync(options.faults, 'utf8')) as Fault[]) : [],
    network: options.network === undefined ? {} : networkProfile(options.network),
  }).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EADDRINUSE'
      ? new Error(`port ${port} is taken: is local AWS running already? Choose another with --port.`)
      : error;
  });
  const instance = aws.named.get(options.instance)!.id;
  if (options.json) {
    console.log(JSON.stringify({ url: aws.url, environment: aws.environment, bucket: options.bucket, instance }));
  } else {
    console.log(
      `Local AWS listens on ${aws.url}, with the bucket ${options.bucket} and the instance ${options.instance} (${instance}).\n`,
    );
    for (const [name, value] of Object.entries(aws.environment)) console.log(`export ${name}=${value}`);
    console.log('\nCtrl+C stops it and all that its instances run.');
  }
  const stop = () => void aws.close().then(() => process.exit(0));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
}

function bootTime(text: string): number {
  const parsed = duration.safeParse(text);
  if (!parsed.success) throw new Error(`--boot: ${text} ${parsed.error.issues[0].message}`);
  return parsed.data;
}
