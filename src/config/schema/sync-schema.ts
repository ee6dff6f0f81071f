import { z } from 'zod';
import { size } from '../syntax/units';
import { SENSITIVE_FILES } from './sensitive-files';

const text = z.string().min(1);

export const syncSchema = z.strictObject({
  include: z
    .array(text)
    .default([])
    .describe(
      'Files to send although git ignores them or they are left out by default: globs relative to the project, or {workspaceRoot}/….',
    ),
  exclude: z
    .array(text)
    .default([])
    .describe('Files to leave out: globs relative to the project, or {workspaceRoot}/….'),
  dependencies: z.boolean().default(true).describe('Send the projects that this one depends on as well.'),
  tree: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'may hold letters, digits and ._- only')
    .optional()
    .describe(
      'Name of a tree (the synced files on an instance) that several callers share. Default: each caller has their own tree.',
    ),
  transport: z
    .enum(['auto', 'store', 'archive'])
    .default('auto')
    .describe(
      'How content is sent: store (packs of what the store lacks), archive (one tar of what is missing, readable without nx-ec2), or auto (store if the bucket supports conditional writes, else archive).',
    ),
  allowInline: z
    .boolean()
    .default(true)
    .describe('Send small edits inside the SSM command. AWS keeps commands in its command history.'),
  commandFirst: z
    .boolean()
    .default(true)
    .describe(
      'Send the SSM command of remote-sync before its plan: while the files are looked at if this machine remembers what the instance has, else while they are uploaded. The plan follows through the store, sealed with a key that is in the command; until then the command changes nothing, and it ends after 5 s.',
    ),
  sensitive: z
    .array(text)
    .default(SENSITIVE_FILES)
    .describe('Globs of files that are never sent inside a command: relative to the project, or {workspaceRoot}/….'),
  compression: z
    .union([z.literal('auto'), z.int().min(0).max(9)])
    .default('auto')
    .describe(
      'Compression level, 0 (none) to 9; auto: chosen by the speed of the link. Content that does not compress is sent as it is.',
    ),
  warnAbove: size.prefault('100MB').describe('If more than this will be sent, list the largest files first.'),
});
