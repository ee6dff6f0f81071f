import type { IncomingMessage } from 'node:http';
import type { ServiceRequest } from '../protocol/service';
import { AwsError } from '../protocol/aws-error';

/** One thing that goes wrong, or several in a row. */
export interface Fault {
  /** s3, ssm, ec2 or sts; absent: any. `session`: the stream of a session. */
  service?: string;
  /** The action (`SendCommand`), or S3's method (`PUT`); absent: any. Of a stream: `connect`, or a `frame` of its `output` or `input`. */
  action?: string;
  /** Only what comes over this link: of clients, or of instances. */
  link?: 'client' | 'instance';
  /** Only requests that have one of these headers, in lower case. */
  headers?: string[];
  /** S3: only objects whose path has this in it. */
  path?: string;
  /** Requests of that kind that pass before. */
  after?: number;
  /** How many go wrong; absent: one. */
  times?: number;
  /** The error that is answered, with AWS's own code and status. `headers`: what S3 sends with it. */
  error?: { code: string; message?: string; status?: number; headers?: Record<string, string> };
  /** The service does not see these headers, in lower case: as a server that does not know them. */
  ignore?: string[];
  /** S3: so long passes between the check of a write's condition and the write, ms: of several at once, each succeeds. */
  apart?: number;
  /** The connection is cut: `before` the request is handled, or `after` it, when its effect is there and its answer lost. */
  cut?: 'before' | 'after';
  /** Held back so long, ms. */
  delay?: number;
  /** What happens to a frame of a stream; `swap`: the next one comes first; `cut`: the connection ends instead. */
  frame?: 'duplicate' | 'swap' | 'drop' | 'cut';
  /** Of a stream: only once its connection has carried so many bytes. */
  bytes?: number;
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
  take(
    service: string,
    action: string,
    link: 'client' | 'instance' = 'client',
    { headers, url = '' }: Pick<IncomingMessage, 'headers' | 'url'> = { headers: {} },
  ): Fault | undefined {
    return this.first(
      (fault) =>
        !fault.frame &&
        (!fault.service || fault.service === service) &&
        (!fault.action || fault.action === action) &&
        (!fault.link || fault.link === link) &&
        (!fault.path || url.includes(fault.path)) &&
        (!fault.headers || fault.headers.some((name) => headers[name] !== undefined)),
    );
  }

  /** The fault that a frame of a session's stream meets. @param carried bytes of its connection, its own included. */
  takeFrame(direction: 'output' | 'input', carried: number): Fault | undefined {
    return this.first(
      ({ service, action, frame, bytes = 0 }) =>
        frame !== undefined && service === 'session' && (!action || action === direction) && carried > bytes,
    );
  }

  private first(meets: (fault: Fault) => boolean): Fault | undefined {
    for (const fault of this.pending) {
      if (!meets(fault)) continue;
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
  return error && new AwsError(error.code, error.message ?? error.code, error.status ?? 400, error.headers);
}

/** A request as a server sees it that does not know some headers. */
export function withoutHeaders(request: ServiceRequest, names: string[]): ServiceRequest {
  const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !names.includes(name)));
  return { ...request, headers };
}
