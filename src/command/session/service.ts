import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem, isTransient } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import type { Problem } from '../../report/problem';
import type { StreamAddress } from './connection';

/** What a session is started for. */
export interface SessionRequest {
  document: string;
  parameters: Record<string, string[]>;
  /** Shown in the console's session history. */
  reason: string;
}

const REASON_LIMIT = 256;

/** @throws Problem SESSION_DENIED, SESSION_UNAVAILABLE, SESSION_START. */
export async function startSession(
  aws: Aws,
  instance: string,
  { document, parameters, reason }: SessionRequest,
  signal?: AbortSignal,
): Promise<{ session: string; address: StreamAddress }> {
  const { StartSessionCommand } = sdk.ssm();
  const ssm = await aws.ssm();
  try {
    const started = await ssm.send(
      new StartSessionCommand({
        Target: instance,
        DocumentName: document,
        Parameters: parameters,
        Reason: reason.slice(0, REASON_LIMIT),
      }),
      { abortSignal: signal },
    );
    return { session: started.SessionId!, address: { url: started.StreamUrl!, token: started.TokenValue! } };
  } catch (error) {
    signal?.throwIfAborted();
    throw startProblem(instance, document, error);
  }
}

/**
 * Where the stream of a session is now; undefined where the session is over.
 * @throws Problem where that was refused; the SDK's error for what may pass by itself.
 */
export async function resumeSession(aws: Aws, instance: string, session: string): Promise<StreamAddress | undefined> {
  const { ResumeSessionCommand } = sdk.ssm();
  const ssm = await aws.ssm();
  try {
    const { StreamUrl, TokenValue } = await ssm.send(new ResumeSessionCommand({ SessionId: session }));
    return StreamUrl && TokenValue ? { url: StreamUrl, token: TokenValue } : undefined;
  } catch (error) {
    if (awsCode(error) === 'DoesNotExistException') return undefined;
    if (isTransient(error) || awsCode(error) === undefined) throw error;
    throw resumeProblem(instance, session, error);
  }
}

/** Ends a session and what runs in it; one that is over is no error. @throws Problem SESSION_END. */
export async function terminateSession(aws: Aws, instance: string, session: string): Promise<void> {
  const { TerminateSessionCommand } = sdk.ssm();
  try {
    await (await aws.ssm()).send(new TerminateSessionCommand({ SessionId: session }));
  } catch (error) {
    if (awsCode(error) === 'DoesNotExistException') return;
    throw awsProblem('SESSION_END', `Could not end session ${session} on ${instance}.`, error);
  }
}

function startProblem(instance: string, document: string, error: unknown): Problem {
  const code = awsCode(error);
  if (code !== undefined && /^AccessDenied/.test(code)) {
    return awsProblem(
      'SESSION_DENIED',
      `Not allowed to start a session on ${instance}.`,
      error,
      `The caller needs ssm:StartSession on the instance and on the document ${document}, and ssm:ResumeSession and ssm:TerminateSession on its own sessions.`,
    );
  }
  if (code === 'TargetNotConnected') {
    return awsProblem(
      'SESSION_UNAVAILABLE',
      `Session Manager has no connection to ${instance}.`,
      error,
      'It may be stopped or still booting, or its agent has no route to ssmmessages, or its role lacks ssmmessages:*. To find out: nx run <project>:remote-doctor',
    );
  }
  return awsProblem('SESSION_START', `Could not start a session on ${instance} with the document ${document}.`, error);
}

function resumeProblem(instance: string, session: string, error: unknown): Problem {
  const denied = /^AccessDenied/.test(awsCode(error) ?? '');
  return awsProblem(
    denied ? 'SESSION_DENIED' : 'SESSION_LOST',
    `The connection to session ${session} on ${instance} was cut and could not be resumed.`,
    error,
    denied ? 'The caller needs ssm:ResumeSession on its own sessions.' : undefined,
  );
}
