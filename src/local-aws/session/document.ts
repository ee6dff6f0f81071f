import { AwsError } from '../protocol/aws-error';

/** What a session's document asks the agent for. */
export interface SessionDocument {
  /** As the agent calls it in its handshake. */
  type: 'Standard_Stream' | 'InteractiveCommands' | 'NonInteractiveCommands' | 'Port';
  /** Empty: a shell. */
  command: string;
  /** Standard error apart, with an exit code, as it is written. */
  separate: boolean;
  /** Whether it begins with a handshake. */
  handshake: boolean;
  properties: Record<string, string>;
}

/** What the document of ports takes as a port. */
const PORT = /^([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;

const SSH = 'AWS-StartSSHSession';

const DOCUMENTS: Record<string, { type: SessionDocument['type']; parameters: string[] }> = {
  'SSM-SessionManagerRunShell': { type: 'Standard_Stream', parameters: [] },
  'AWS-StartInteractiveCommand': { type: 'InteractiveCommands', parameters: ['command'] },
  'AWS-StartNonInteractiveCommand': {
    type: 'NonInteractiveCommands',
    parameters: ['command', 'separateOutputStream'],
  },
  'AWS-StartPortForwardingSession': { type: 'Port', parameters: ['portNumber', 'localPortNumber'] },
  [SSH]: { type: 'Port', parameters: ['portNumber'] },
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
  if (document.type === 'Port') return name === SSH ? sshDocument(parameters) : portDocument(parameters);
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

function portDocument({
  portNumber: [portNumber] = ['80'],
  localPortNumber: [local] = ['0'],
}: Record<string, string[]>) {
  if (!PORT.test(portNumber) || !(local === '0' || PORT.test(local)))
    throw new AwsError('InvalidParameters', 'Parameters portNumber and localPortNumber are numbers of ports.');
  const properties = { portNumber, localPortNumber: local, type: 'LocalPortForwarding' };
  return { type: 'Port' as const, command: '', separate: false, handshake: true, properties };
}

/** Without a type, as AWS's own document: the agent carries the bytes of one connection. */
function sshDocument({ portNumber: [portNumber] = ['22'] }: Record<string, string[]>) {
  if (!PORT.test(portNumber)) throw new AwsError('InvalidParameters', 'Parameter portNumber is the number of a port.');
  return { type: 'Port' as const, command: '', separate: false, handshake: true, properties: { portNumber } };
}
