import { hash, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { customEndpoint } from '../../aws/endpoint-variable';
import type { RunPart } from '../../command/plan';
import { runtimeProgram } from '../../command/runtime-program';
import { seal } from '../../command/seal';
import type { WatchdogConfig } from '../../instance/launch/user-data';
import type { Snapshot } from '../../snapshot/snapshot';
import { limitsOf } from '../../sync/pipeline/plan-sync';
import type { RunContext } from '../../context/types';

/** How an instance finds what starts its run with no command: docs/reference/formats.md, "Runs with a fleet". */
export type BootPlace = NonNullable<WatchdogConfig['boot']>;

/**
 * Writes the object from which an instance starts or resumes a run without a client, and the runtime. It is sealed:
 * it holds variables of the training. Named by its hash, so that of two who write one nobody takes the other's away.
 * @param template the launch template's name.
 */
export async function storeBoot(
  context: RunContext,
  run: RunPart,
  tree: string,
  snapshot: Snapshot,
  template: string,
): Promise<BootPlace> {
  const { store, keys, aws, configuration } = context;
  const boot = {
    v: 1,
    runtime: runtimeProgram().sha256,
    root: configuration.remoteRoot ?? null,
    user: configuration.user ?? null,
    tree,
    snapshot: snapshot.id,
    limits: limitsOf(snapshot),
    fleet: { region: await aws.region(), endpoint: customEndpoint('ec2') ?? null, template },
    run,
  };
  const key = randomBytes(32);
  const bytes = seal(deflateSync(JSON.stringify(boot)), key);
  const sha256 = hash('sha256', bytes, 'hex');
  const beside = `${keys.run(run.id)}boot/`;
  const place = `${beside}${sha256}`;
  const runtime = runtimeProgram();
  // The run's own: it stays as long as the run does.
  await Promise.all([
    store.putContentAddressed(`${beside}${runtime.sha256}`, runtime.sha256, runtime.bytes),
    store.put(place, bytes),
  ]);
  const { bucket, region, endpoint, pathStyle, owner } = run.store;
  return {
    bucket,
    region,
    endpoint,
    pathStyle,
    owner,
    objectKey: place,
    sha256,
    encryptionKey: key.toString('base64'),
  };
}
