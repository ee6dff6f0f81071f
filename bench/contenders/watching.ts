import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { now, type Timing } from './contender';
import type { Driving } from './driver';
import { Terminal } from './terminal';

/** A save that takes longer has failed, ms. */
const LIMIT = 30_000;
/** The instance's copy is looked at so often, ms. */
const LOOK = 1;

/** From the save to the instance's copy having it, and to the acknowledgement being printed. */
export interface Save extends Timing {
  acknowledged: number;
}

/** A watch at work in another process. */
export class Watching extends Terminal {
  constructor(
    driving: Driving,
    private readonly source: string,
    private readonly target: string,
  ) {
    super(driving);
  }

  /** @param edit makes an edit, and says of which file: of that the instance's copy is looked at. */
  async save(edit: () => string): Promise<Save> {
    const printed = this.line(/^Synced /);
    printed.catch(() => undefined);
    const begun = now();
    const file = edit();
    const copy = join(this.target, relative(this.source, file));
    const wanted = readFileSync(file);
    while (!readFileSync(copy).equals(wanted)) {
      if (now() - begun > LIMIT) await this.late(0);
      await sleep(LOOK);
    }
    const ended = now();
    return { begun, ended, acknowledged: (await printed).at };
  }
}
