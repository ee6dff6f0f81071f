import { runtimeCode } from '../report/error-codes';
import { Problem } from '../report/problem';
import type { Operation } from './plan';

/** A failure that the runtime reported, as data. */
export class RemoteFailure extends Problem {
  constructor(
    readonly remoteCode: string,
    what: string,
    readonly detail: Record<string, unknown>,
    next?: string,
  ) {
    super(runtimeCode(remoteCode), what, { next });
  }
}

/** Whether a result is that of an instance that could not get the runtime. */
export function isRuntimeTrouble(result: unknown): boolean {
  if (!(result instanceof RemoteFailure)) return false;
  const { remoteCode, detail } = result;
  return remoteCode === 'RUNTIME_MISMATCH' || (remoteCode === 'FETCH_FAILED' && detail.what === 'runtime');
}

/** What each operation asks of the instance, in a user's words. */
const OPERATION_VERBS: Record<Operation['op'], string> = {
  sync: 'take the files',
  train: 'take the files',
  watch: 'take the files',
  poll: 'report the state of the run',
  cancel: 'stop the run',
  hold: 'hold the run for another instance',
  exec: 'run the command',
  renew: "renew the run's access to the store",
  doctor: 'be checked',
  ready: 'check the prerequisites of the training',
  activity: 'report its activity',
};

const NOT_IMPLEMENTED =
  'This S3 server lacks conditional writes or checksums, which an instance needs to save a run with its role. Use remote-train with "storeAccess" other than "role", which saves the run with a presigned form, or a server that has them: docs/explanation/reliability.md, "What nx-ec2 needs of an S3 server".';

/** The runtime's error, in a sentence with its next step. */
export function remoteFailure(
  instance: string,
  op: Operation['op'],
  error: { code: string; message: string; detail: Record<string, unknown> },
): RemoteFailure {
  const { code, detail } = error;
  const next: Record<string, string> = {
    NO_PYTHON:
      'Install Python 3.8 or newer on the instance, or use an AMI that has it (Ubuntu 20.04+, Amazon Linux 2023).',
    FETCH_FAILED:
      'The instance needs a route to S3 (an S3 gateway endpoint is enough), and the bucket must allow presigned URLs. To test both: nx run <project>:remote-doctor',
    UPLOAD_FAILED: 'The bucket must accept form uploads from the instance. To test it: nx run <project>:remote-doctor',
    BUSY: 'Another sync of this tree is running. Wait for it, or set "sync.tree" to use a tree of your own.',
    NO_SPACE: 'Free space on the instance, or set "remoteRoot" to a larger volume.',
    NO_ROOT: 'Set "remoteRoot" to a directory that is writable and allows execution.',
    NO_USER: 'Set "user" to a login name that exists on the instance.',
    NO_ROLE:
      'Without a client, a run needs an instance role with s3:PutObject on the prefix of the store (nx g nx-ec2:aws-setup grants it). With remote-train, which follows the run, no role is needed.',
    ACCESS_DENIED:
      'The role of the instance needs s3:PutObject and s3:GetObject on the prefix of the store. To grant both: nx g nx-ec2:aws-setup',
    OBJECT_LOCKED:
      'A run must replace its record, but Object Lock protects it and the bucket keeps no versions. Use a bucket without Object Lock for the store.',
    KEY_REFUSED:
      "This S3 server does not know the access key that the instance's metadata service hands out. Register it with the server, or use remote-train, which needs no role.",
    RUN_ACTIVE: 'Run the same command to attach. If the instance is gone, the run resumes on a new one after 60 s.',
    NOT_RESUMABLE: 'To start the training as a new run: --rerun',
    NO_TREE: 'Sync first: nx run <project>:remote-sync',
    NO_RUN: 'Without --run, the command uses your latest run of this project.',
    PATH_BLOCKED: 'No sync wrote this file. Move it away on the instance, and run the same command again.',
    INTERNAL: 'This is a bug in nx-ec2. Please report it with the trace below.',
  };
  if (code === 'NO_ROOT' && typeof detail.unsafe === 'string')
    next[code] = 'Set "remoteRoot" to a directory that only root can change, as all directories above it must be.';
  if (code === 'NO_ROOT' && detail.unwatched)
    next[code] =
      'Use the "remoteRoot" with which the instance was launched, or launch a new one: run remote-down, and then this command again.';
  if (code === 'UPLOAD_FAILED' && detail.status === 501) next[code] = NOT_IMPLEMENTED;
  const words = typeof detail.aws === 'string' ? detail.aws : JSON.stringify(detail.aws ?? '');
  const aws = detail.aws && !error.message.includes(words) ? `\nS3 says: ${words}` : '';
  const trace = code === 'INTERNAL' && detail.trace ? `\n${String(detail.trace)}` : '';
  return new RemoteFailure(
    code,
    `${instance} could not ${OPERATION_VERBS[op]}: ${error.message} (${code})${aws}`,
    detail,
    next[code] ? `${next[code]}${trace}` : undefined,
  );
}
