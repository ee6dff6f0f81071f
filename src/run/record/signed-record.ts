import { createHmac, timingSafeEqual } from 'node:crypto';
import { isResourceId } from '../../instance/stop/resource-id';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { signedName, type SigningKeys, type RunKeys, type RunName } from '../../store/signing-keys';

const HEAD = /^\{"v":2,"mac":"([0-9a-f]{64})","record":/;
const HEAD_LENGTH = '{"v":2,"mac":"","record":'.length + 64;

/**
 * A record as it lies in the store: docs/reference/formats.md, "Signed records".
 * @param run its `signedName`. @param record JSON
 */
export function signRecord(key: Buffer, run: string, record: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(`{"v":2,"mac":"${macOf(key, run, record).toString('hex')}","record":`),
    record,
    Buffer.from('}'),
  ]);
}

/** What a client's cancel writes for an instance that comes later. */
export function signStop(key: Buffer, run: string): Buffer {
  return Buffer.from(JSON.stringify({ v: 2, mac: mac(key, `nx-ec2 stop 2\n${run}\n`).toString('hex') }));
}

/**
 * The bytes of a run's record, out of what lies in the store.
 * @throws Problem `RECORD_UNVERIFIED` where they do not bear the run's signature, or the key can't be read.
 */
export async function openSigned(signingKeys: SigningKeys, name: RunName, bytes: Buffer): Promise<Buffer> {
  const run = signedName(name);
  const signed = split(bytes);
  const instance = unverifiedInstance(signed?.record ?? bytes);
  if (!signed)
    throw new RecordUnverified(
      run,
      'it has no signature',
      'It was written by another program, or by another version of nx-ec2.',
      { instance },
    );
  let known = await signingKeys.forVerification(name);
  let signer = known.keys.find(fits);
  if (signer) return genuine(signer);
  // The secret may have been created again since this machine has read it.
  known = await signingKeys.forVerification(name, true);
  signer = known.keys.find(fits);
  if (signer) return genuine(signer);
  if (known.missing) {
    const { what, next, aws } = known.missing;
    throw new RecordUnverified(
      run,
      `its signing key is not available on this machine. ${what}`,
      next ??
        'Verify it on the machine that started the run, or with credentials that may read this parameter (ssm:GetParameter).',
      { instance, aws },
    );
  }
  throw new RecordUnverified(
    run,
    "its signature is not the run's",
    'Either another program has written it (check who may write to the bucket), or the run was started on a machine that could not read the secret of the store, and only that machine can verify it.',
    { instance },
  );

  function fits({ key }: RunKeys): boolean {
    return timingSafeEqual(macOf(key, run, signed!.record), signed!.mac);
  }

  function genuine(signer: RunKeys): Buffer {
    if (hasIdentity(signer, name, signed!.record)) return signed!.record;
    throw new RecordUnverified(
      run,
      'the training, caller or workspace in it is not the one that started the run',
      'A program with root access on its instance has written it, since only root can sign it. Check what ran there.',
      { instance },
    );
  }
}

/** Whether a client has signed what a record says of the run's training and of its caller. The shape is not checked here. */
function hasIdentity(signer: RunKeys, { keys }: RunName, record: Buffer): boolean {
  let said: Record<string, unknown>;
  try {
    said = { ...(JSON.parse(record.toString('utf8')) as object) };
  } catch {
    return true;
  }
  const { v, project, runKey, snapshot, caller, tree, identity } = said;
  if (v !== 1) return true;
  if (project !== keys.project || typeof identity !== 'string' || !/^[0-9a-f]{64}$/.test(identity)) return false;
  if (typeof runKey !== 'string' || typeof snapshot !== 'string') return false;
  if (typeof caller !== 'string' || typeof tree !== 'string') return false;
  return timingSafeEqual(signer.identity({ runKey, snapshot, caller, tree }), Buffer.from(identity, 'hex'));
}

/** A record that anybody may have written who can write to the bucket. */
export class RecordUnverified extends Problem {
  /** How long ago it was written, ms, by S3's clock. */
  age = Infinity;
  /** The instance that it names. A reason to leave that one alone, never to touch it. */
  readonly instance: string | null;

  constructor(
    run: string,
    readonly why: string,
    next: string,
    more: { instance?: string | null; aws?: Problem['aws'] } = {},
  ) {
    const what = `The record of ${sanitizeForTerminal(run)} can't be verified: ${why}`;
    super('RECORD_UNVERIFIED', what.endsWith('.') ? what : `${what}.`, { next, aws: more.aws });
    this.instance = more.instance ?? null;
  }
}

function unverifiedInstance(bytes: Buffer): string | null {
  try {
    const { instance } = JSON.parse(bytes.toString('utf8')) as { instance?: unknown };
    return typeof instance === 'string' && isResourceId('instance', instance) ? instance : null;
  } catch {
    return null;
  }
}

function split(bytes: Buffer): { mac: Buffer; record: Buffer } | null {
  const head = HEAD.exec(bytes.subarray(0, HEAD_LENGTH).toString('latin1'));
  if (!head || bytes.at(-1) !== 0x7d) return null;
  return { mac: Buffer.from(head[1], 'hex'), record: bytes.subarray(HEAD_LENGTH, -1) };
}

function macOf(key: Buffer, run: string, record: Buffer): Buffer {
  return createHmac('sha256', key).update(`nx-ec2 record 2\n${run}\n`).update(record).digest();
}

function mac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
