import { AwsError } from '../protocol/aws-error';

/** What a session's document asks the agent for. */
export interface SessionDocument {
  /** As the agent calls it in its handshake. */
  type: 'Standard_Stream' | 'InteractiveCommands' | 'NonInteractiveCommands';
  /** Empty: a shell. */
  command: string;
  /** Standard error apart, with an exit code, as it is written. */
  separate: boolean;
  /** Whether it begins with a handshake. */
  handshake: boolean;
  properties: Record<string, string>;
}

const DOCUMENTS: Record<string, { type: SessionDocument['type']; parameters: string[] }> = {
  'SSM-SessionManagerRunShell': { type: 'Standard_Stream', parameters: [] },
  'AWS-StartInteractiveCommand': { type: 'InteractiveCommands', parameters: ['command'] },
  'AWS-StartNonInteractiveCommand': {
    type: 'NonInteractiveCommands',
    parameters: ['command', 'separateOutputStream'],
  },
};

/** @throws AwsError as StartSession does. */
export function sessionDocument(name: string, parameters: Record<string, string[]>): SessionDocument {
  const document = DOCUMENTS[name];
  if (!document) throw new AwsError('InvalidDocument', `Document with name ${name} does not exist.`);
  for (const [key, values] of Object.entries(parameters)) {
    if (!document.parameters.includes(key))
      throw new AwsError('InvalidParameters', `Parameter ${key} is not defined in the document.`);
    if (!Array.isArray(values) || values.length !== 1)
      throw new AwsError('InvalidParameters', `Parameter ${key} takes one value.`);
  }
  const command = parameters.command?.[0] ?? '';
  if (document.type === 'NonInteractiveCommands' && !command.trim())
    throw new AwsError('InvalidParameters', 'Parameter command is required.');
  const separate = parameters.separateOutputStream?.[0] === 'true';
  return {
    type: document.type,
    command,
    separate,
    handshake: document.type !== 'Standard_Stream',
    properties: Object.fromEntries(Object.entries(parameters).map(([key, [value]]) => [key, value])),
  };
}
