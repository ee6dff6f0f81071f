import { z } from 'zod';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { CLIENT_VERSION } from './connection';

const SUCCESS = 1;
const FAILED = 2;
const UNSUPPORTED = 3;

const request = z.object({
  AgentVersion: z
    .string()
    .regex(/^\d{1,6}(\.\d{1,6}){1,3}$/)
    .nullish()
    .catch(null),
  RequestedClientActions: z
    .array(z.object({ ActionType: z.string().max(100).transform(sanitizeForTerminal) }))
    .max(16)
    .nullish(),
});

/**
 * The answer to the agent's handshake request.
 * @returns `refusal`, where the session can't continue; `agent`: its version, where it says one.
 */
export function answerHandshake(
  payload: Buffer,
  instance: string,
): { response: Buffer; refusal?: Problem; agent?: string } {
  const asked = parseRequest(payload);
  if (!asked) {
    return {
      response: Buffer.from('{}'),
      refusal: new Problem('SESSION_PROTOCOL', `${instance} sent an invalid handshake.`),
    };
  }
  const actions = asked.RequestedClientActions ?? [];
  const processed = actions.map(({ ActionType }) =>
    ActionType === 'SessionType'
      ? { ActionType, ActionStatus: SUCCESS, ActionResult: null, Error: '' }
      : {
          ActionType,
          ActionStatus: ActionType === 'KMSEncryption' ? FAILED : UNSUPPORTED,
          ActionResult: null,
          Error: `nx-ec2 does not support ${ActionType}`,
        },
  );
  const errors = processed.map(({ Error: error }) => error).filter(Boolean);
  const response = Buffer.from(
    JSON.stringify({ ClientVersion: CLIENT_VERSION, ProcessedClientActions: processed, Errors: errors }),
  );
  if (actions.some(({ ActionType }) => ActionType === 'KMSEncryption'))
    return { response, refusal: encrypted(instance) };
  if (errors.length)
    return {
      response,
      refusal: new Problem(
        'SESSION_PROTOCOL',
        `${instance} asks for session features that nx-ec2 does not support: ${errors.join(', ')}.`,
      ),
    };
  return { response, agent: asked.AgentVersion ?? undefined };
}

function parseRequest(payload: Buffer): z.infer<typeof request> | undefined {
  try {
    return request.safeParse(JSON.parse(payload.toString())).data;
  } catch {
    return undefined;
  }
}

function encrypted(instance: string): Problem {
  return new Problem(
    'SESSION_ENCRYPTED',
    `Session Manager is set to encrypt sessions to ${instance} with a KMS key, which nx-ec2 does not support (TLS encrypts them anyway).`,
    { next: "Remove the KMS key from Session Manager's preferences, or work without live sessions." },
  );
}
