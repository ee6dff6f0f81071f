import { readFileSync } from 'node:fs';

/** The descendants of a process change all the time: they are read so often, ms. What a process used after the last time is missed. */
const LOOK_MS = 2;

export interface UsedBy {
  /** The name of the program that it was at last. */
  program: string;
  /** ms. */
  processor: number;
}

/** Looks at the descendants of a process, one by one, while they run. Linux alone. */
export class ProcessTree {
  private readonly seen = new Map<number, UsedBy>();
  private readonly timer: NodeJS.Timeout;

  constructor(root: number) {
    this.timer = setInterval(() => this.look(root), LOOK_MS);
  }

  /** @returns what each has used, in the order in which they were seen. */
  end(): UsedBy[] {
    clearInterval(this.timer);
    return [...this.seen.values()];
  }

  private look(pid: number): void {
    for (const child of childrenOf(pid)) {
      const used = usedBy(child);
      if (used) this.seen.set(child, used);
      this.look(child);
    }
  }
}

function childrenOf(pid: number): number[] {
  return (read(`/proc/${pid}/task/${pid}/children`) ?? '').split(' ').filter(Boolean).map(Number);
}

function usedBy(pid: number): UsedBy | null {
  const program = read(`/proc/${pid}/comm`)?.trim();
  const nanoseconds = read(`/proc/${pid}/schedstat`)?.split(' ')[0];
  return program && nanoseconds ? { program, processor: Number(nanoseconds) / 1e6 } : null;
}

/** @returns null where the process has ended. */
function read(file: string): string | null {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return null;
  }
}
