import { AwsError } from './service';

/** One thing that goes wrong, or several in a row. */
export interface Fault {
  /** s3, ssm, ec2 or sts; absent: any. */
  service?: string;
  /** The action (`SendCommand`), or S3's method (`PUT`); absent: any. */
  action?: string;
  /** Requests of that kind that pass before. */
  after?: number;
  /** How many go wrong; absent: one. */
  times?: number;
  /** The error that is answered, with AWS's own code and status. */
  error?: { code: string; message?: string; status?: number };
  /** The connection is cut: `before` the request is handled, or `after` it, when its effect is there and its answer lost. */
  cut?: 'before' | 'after';
  /** Held back so long, ms. */
  delay?: number;
}

/** Faults in the order in which they were asked for. */
export class Faults {
  private readonly pending: Fault[];

  constructor(faults: Fault[] = []) {
    this.pending = faults.map((each) => ({ ...each }));
  }

  add(fault: Fault): void {
    this.pending.push({ ...fault });
  }

  /** What was asked for and has not happened does not. */
  clear(): void {
    this.pending.length = 0;
  }

  /** The fault that this request meets. */
  take(service: string, action: string): Fault | undefined {
    for (const fault of this.pending) {
      if ((fault.service && fault.service !== service) || (fault.action && fault.action !== action)) continue;
      if (fault.after) {
        fault.after--;
        continue;
      }
      fault.times = (fault.times ?? 1) - 1;
      if (fault.times <= 0) this.pending.splice(this.pending.indexOf(fault), 1);
      return fault;
    }
    return undefined;
  }
}

export function faultError({ error }: Fault): AwsError | undefined {
  return error && new AwsError(error.code, error.message ?? error.code, error.status ?? 400);
}
