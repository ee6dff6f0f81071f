import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { INSTANCE_ID } from '../../schema/ids';
import type { Kind } from '../inventory/inventory';

const SHAPES: Record<Kind, RegExp> = {
  instance: INSTANCE_ID,
  fleet: /^fleet-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  'launch template': /^lt-[0-9a-f]{8,17}$/,
  'spot request': /^sir-[0-9a-z]{8,17}$/,
  volume: /^vol-[0-9a-f]{8,17}$/,
  'placement group': /^nx-ec2-[0-9a-f]{16}$/,
};

/** Whether a text has the shape of such an id. */
export function isResourceId(kind: Kind, id: string): boolean {
  return SHAPES[kind].test(id);
}

/** @throws Problem for anything else: an ARN, a wildcard, shell text. */
export function assertResourceId(kind: Kind, id: string): void {
  if (isResourceId(kind, id)) return;
  throw new Problem(
    'RESOURCE_ID',
    `${JSON.stringify(sanitizeForTerminal(id).slice(0, 100))} is not the id of an EC2 ${kind}.`,
    {
      next: 'Another program wrote to this prefix, or a tag was edited. Nothing was changed in EC2.',
    },
  );
}
