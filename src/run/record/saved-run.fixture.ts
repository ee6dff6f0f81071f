import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  chmodSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { StoreKeys } from '../../store/keys';
import { signedName, type RunKeys } from '../../store/signing-keys';
import type { Store } from '../../store/store';
import type { RunRecord } from './record';
import { signRecord } from './signed-record';

export const RUN = '20260101-000000-model-abcdef';

/** What the instance says of a run that has ended well, but for what a test says. */
export function recordOf(more: Partial<RunRecord> = {}): RunRecord {
  return {
    v: 1,
    id: RUN,
    runKey: 'k',
    project: 'model',
    tree: 't',
    snapshot: 's',
    caller: 'arn:aws:iam::123456789012:user/ann',
    instance: 'i-0123456789abcdef0',
    user: 'ubuntu',
    directory: '/var/lib/nx-ec2/runs/x',
    state: 'ended',
    outcome: 'succeeded',
    exitCode: 0,
    signal: null,
    stop: null,
    failure: null,
    pid: 5,
    createdAt: 1,
    startedAt: 2,
    endedAt: 3,
    attempt: 1,
    since: 2,
    attempts: [
      {
        n: 1,
        instance: 'i-0123456789abcdef0',
        startedAt: 2,
        endedAt: 3,
        exitCode: 0,
        signal: null,
        why: null,
        price: null,
        nodes: null,
      },
    ],
    queue: null,
    resources: { exclusive: false, gpus: 0 },
    gpus: null,
    launcher: null,
    node: null,
    nodes: [],
    rendezvous: null,
    nodeCheckpoints: [],
    wholeCheckpoint: null,
    failedNode: null,
    log: { size: 10, training: 5, truncated: false, hashes: null },
    warnings: [],
    metrics: {
      host: {
        cpu: 1,
        cores: null,
        load: null,
        memoryUsed: null,
        memoryTotal: null,
        diskUsed: null,
        diskTotal: null,
        networkIn: null,
        networkOut: null,
      },
      gpus: null,
      training: { loss: 0.5, nan: null },
      progress: null,
      segments: 1,
      sources: [],
      warnings: [],
    },
    checkpoints: [],
    artifacts: null,
    datasets: [],
    restoredFrom: null,
    takenOver: null,
    metadata: {
      git: null,
      command: 'python train.py',
      recovery: 'none',
      configuration: {},
      host: 'laptop',
      price: null,
    },
    heartbeat: 7,
    heartbeatPort: null,
    access: 'role',
    trouble: null,
    ...more,
  };
}

/** What a node of a run on several says of itself, which has ended well. */
export function nodeStateOf(rank: number, count: number): RunRecord['node'] {
  const end = { phase: 'exited', exitCode: 0, signal: null, at: 3, told: false, failure: null } as const;
  return { rank, count, address: `10.0.0.${rank}`, ...end, lines: [] };
}

/** A record as the run's instance writes it. */
export async function signedBytes(store: Store, keys: StoreKeys, record: Partial<RunRecord>): Promise<Buffer> {
  const run = record.id!;
  const signer = (await store.signingKeys.forStart({ keys, run })).keys;
  return signAs(signer, signedName({ keys, run, node: record.node?.rank }), record);
}

/** The same with the keys of any run. @param said what the client has signed of it */
export function signAs(
  signer: RunKeys,
  run: string,
  record: Partial<RunRecord>,
  said: Partial<RunRecord> = record,
): Buffer {
  const { runKey = '', snapshot = '', caller = '', tree = '' } = said;
  const identity = signer.identity({ runKey, snapshot, caller, tree }).toString('hex');
  return signRecord(signer.key, run, Buffer.from(JSON.stringify({ ...record, identity })));
}

export async function putRecord(store: Store, keys: StoreKeys, record: RunRecord): Promise<void> {
  await store.put(`${keys.node(record.id, record.node?.rank ?? 0)}record.json`, await signedBytes(store, keys, record));
}

const SAVE = `
import json, os, sys
home, tests = sys.argv[1:]
sys.path[:0] = [home, tests]
from memory_bucket import Bucket
from nx_ec2_runtime.checkpoints import checkpoints, part_upload as parts
from nx_ec2_runtime.report import artifacts
from nx_ec2_runtime.run_dir import written_files as written
bucket = Bucket()
saved = parts.Parts(bucket, os.path.join(home, "parts.json"))
limits = {"files": 1000, "bytes": 1 << 40}
part = {"projectRoot": ".", "artifacts": {"outputs": [{"pattern": ".*", "base": ""}], "scratch": [], "numbered": [], "limits": limits, "extra": limits}}
state = artifacts.save_artifacts(part, os.path.join(home, "project"), written.Inputs(home), parts=saved, bucket=bucket)
it = checkpoints.Checkpoints(os.path.join(home, "checkpoints"), home, parts=saved, bucket=bucket, keep=3, every=None, attempt=1)
it.look(final=True)
for name, data in bucket.objects.items():
    with open(os.path.join(home, "objects", name.replace("/", "%")), "wb") as file:
        file.write(data)
print(json.dumps({"artifacts": state, "checkpoints": it.kept}))
`;

/**
 * Saves files as the runtime does, by the runtime, and brings them to a store.
 * @param artifacts by their paths in the output directory; one whose name ends in `.sh` is executable.
 * @param checkpoints by their paths in the checkpoint directory. @param node the one of several that saves them
 */
export async function saveRun(
  store: Store,
  keys: StoreKeys,
  artifacts: Record<string, Buffer>,
  checkpoints: Record<string, Buffer> = {},
  node: RunRecord['node'] = null,
): Promise<RunRecord> {
  const home = mkdtempSync(join(tmpdir(), 'nx-ec2-saved-'));
  try {
    const write = (path: string, data: Buffer) => {
      mkdirSync(dirname(join(home, path)), { recursive: true });
      writeFileSync(join(home, path), data);
      if (path.endsWith('.sh')) chmodSync(join(home, path), 0o755);
    };
    for (const [path, data] of Object.entries(artifacts)) write(`project/artifacts/${path}`, data);
    for (const [path, data] of Object.entries(checkpoints)) write(`checkpoints/${path}`, data);
    mkdirSync(join(home, 'objects'));
    const remote = join(__dirname, '../..', 'runtime');
    symlinkSync(remote, join(home, 'nx_ec2_runtime'));
    const said = execFileSync('python3', ['-B', '-c', SAVE, home, join(remote, 'tests')], { encoding: 'utf8' });
    for (const name of readdirSync(join(home, 'objects')))
      await store.put(
        keys.node(RUN, node?.rank ?? 0) + name.replace(/%/g, '/'),
        readFileSync(join(home, 'objects', name)),
      );
    const record = recordOf({ ...(JSON.parse(said) as Partial<RunRecord>), node });
    await putRecord(store, keys, record);
    return record;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
