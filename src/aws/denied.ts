import { sanitizeForTerminal } from '../report/terminal-text';

/** What AWS refused for a permission that is missing, as far as its words say. */
export interface Denial {
  /** e.g. `ssm:SendCommand`; null where it is not named. */
  action: string | null;
  /** ARN; null where it is not named. */
  resource: string | null;
  /** A policy denies it: one that allows it does not help. */
  explicit: boolean;
}

/** Longer words of AWS's are not looked at, characters: what is encoded comes last. */
const MAX_MESSAGE_LENGTH = 4_096;

const ACTION = /not authorized to perform:? ([a-z0-9-]{1,64}:[A-Za-z0-9]{1,128})(?![A-Za-z0-9*:-])/i;
const RESOURCE = /on (?:the )?resource:? (?:"([^"]{1,2048})"|([^\s",]{1,2048}))/i;
const OTHERS = /^(?:you are )?not authorized to perform this operation|access ?denied/i;

/**
 * Reads what a service says of a refusal.
 * @returns null for any other text.
 */
export function parseDenial(text: string): Denial | null {
  const words = text.slice(0, MAX_MESSAGE_LENGTH);
  const action = ACTION.exec(words)?.[1];
  if (action === undefined && !OTHERS.test(words.trim())) return null;
  const [, quoted, bare] = (action !== undefined && RESOURCE.exec(words)) || [];
  const resource = quoted ?? bare?.replace(/[.;]$/, '');
  return {
    action: action ?? null,
    resource: resource ? sanitizeForTerminal(resource) : null,
    explicit: /with an explicit deny/i.test(words),
  };
}
