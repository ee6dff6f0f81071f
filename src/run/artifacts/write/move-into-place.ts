import { copyFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileProblem } from '../../../report/file-problem';
import { makeScratch } from '../../../workspace/scratch';

/**
 * Moves a complete file to its place, in one step for whoever reads it there. Where the place is on another file system, as
 * in a directory that a volume is mounted at, the file is copied beside it first.
 * @throws Problem `DISK_FULL` of that file system.
 */
export function moveIntoPlace(file: string, place: string): void {
  try {
    renameSync(file, place);
    return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
  }
  const scratch = makeScratch(dirname(place));
  try {
    copyFileSync(file, join(scratch, 'file'));
    renameSync(join(scratch, 'file'), place);
  } catch (error) {
    throw fileProblem(error, place) ?? error;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
