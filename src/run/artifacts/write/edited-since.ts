import type { FoldNames } from '../../../workspace/name-folding';
import { join } from 'node:path';
import { lookUp } from '../../../workspace/look-up';
import { hasContent } from './same-content';
import type { CollectedFiles } from './collected';
import type { Artifact, Target } from './artifact';

/** Why the file that is here may hold an edit that exists nowhere else; null: it was not sent, or is as it was sent. */
export async function editedSince(
  output: string,
  file: Artifact,
  { sent, collected }: { sent: Target['sent']; collected: CollectedFiles },
  fold: FoldNames,
): Promise<string | null> {
  const { path, sentAs } = file;
  const here = join(output, path);
  if (sentAs === undefined || lookUp(here) === null || (await hasContent(here, file))) return null;
  const was = await sent.contentOf(sentAs, fold);
  if (was !== undefined)
    return was && !(await hasContent(here, was)) ? 'the file at this path was changed since it was sent' : null;
  for (const brought of collected.contents.get(path) ?? []) if (await hasContent(here, brought)) return null;
  return 'it is not known whether the file at this path was changed since it was sent';
}
