import { Problem } from '../report/problem';

/** A file that goes or changes while it is sent: the caller scans again. */
export class FileMoved extends Problem {
  constructor(what: string, cause?: unknown) {
    super('FILE_CHANGED', `A file changed while it was being sent: ${what}`, {
      next: 'Run the command again when no program writes to it.',
      cause,
    });
  }
}
