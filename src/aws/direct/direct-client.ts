import type { IncomingMessage } from 'node:http';
import type { ServiceAgents, ServiceName } from '../connections';
import { isWebPage, limitsOf } from '../http-handler';
import { directEndpoint } from './endpoint';
import { sendSigned, type Identity, type Route, type SendOptions } from './http';
import { OPERATIONS, type Input, type OperationName, type Output } from './operations';
import { isPlainKey } from './objects';
import { presignGet, presignPost } from './presign';

/** What a call answers, and about the answer. */
export type Answer<K extends OperationName> = Output<K> & {
  /** How often the request was sent. */
  attempts: number;
  /** AWS's clock, ms since the epoch. */
  date?: number;
};

interface DirectSettings {
  /** The region in force; undefined: the SDK has to find it. */
  region(): string | undefined;
  identity(): Promise<Identity>;
  agents(service: ServiceName): Promise<ServiceAgents>;
}

/** AWS refuses a signature whose time differs by more, ms; as in the SDK, a clock that differs less is taken for right. */
const CLOCK_SKEW_MS = 5 * 60_000;

/**
 * Makes the few calls of a sync without the SDK, which takes longer to load than the call takes. It never explains a
 * failure: whatever is not the plain answer is left to the SDK, which sends the request again, and all later ones of that service.
 */
export class DirectClient {
  /** Of AWS's clock against this machine's, ms, where they differ by more than `CLOCK_SKEW_MS`. */
  clockOffset = 0;
  /** The services that only the SDK calls from now on. */
  private readonly leftToSdk = new Set<string>();

  constructor(private readonly settings: DirectSettings) {}

  /**
   * @returns undefined where the call is the SDK's to make.
   * @throws what the caller has to expect of the operation, and an AbortError.
   */
  async call<K extends OperationName>(
    name: K,
    input: Input<K>,
    options: SendOptions = {},
  ): Promise<Answer<K> | undefined> {
    const operation = OPERATIONS[name];
    const { service } = operation;
    const { Bucket } = input as { Bucket?: string };
    const unsigned = operation.request(input);
    const route = unsigned && (await this.route(service, Bucket));
    if (!route) return undefined;
    if (route.pathStyle && Bucket !== undefined) unsigned.path = `/${Bucket}${unsigned.path}`;
    let answer: IncomingMessage;
    let code: string | undefined;
    try {
      answer = await sendSigned(unsigned, route, options);
      this.noteClock(answer.headers.date);
      const { statusCode: status = 0 } = answer;
      if (status < 200 || status > 299) code = await operation.expected?.(answer);
      else if (!isWebPage(answer.headers))
        return { ...(await OPERATIONS[name].parse(answer)), attempts: 1, date: dateOf(answer.headers) };
    } catch (error) {
      if (options.signal?.aborted) throw error;
      return this.leaveToSdk(service);
    }
    if (code === undefined) {
      answer.destroy();
      return this.leaveToSdk(service);
    }
    answer.resume();
    const { statusCode: httpStatusCode, headers } = answer;
    const requestId = headers['x-amzn-requestid'] ?? headers['x-amz-request-id'];
    const $metadata = { httpStatusCode, requestId, attempts: 1 };
    throw Object.assign(new Error(code), { name: code, $fault: 'client', $metadata });
  }

  /** @returns undefined where the URL is the SDK's to sign. */
  async presignGet(bucket: string, key: string, lifetime: number): Promise<string | undefined> {
    const route = isPlainKey(key) ? await this.route('s3', bucket) : undefined;
    return route && presignGet({ ...route, bucket }, key, lifetime);
  }

  /** @returns undefined where the form is the SDK's to sign. */
  async presignPost(bucket: string, prefix: string, options: Parameters<typeof presignPost>[2]) {
    const route = await this.route('s3', bucket);
    return route && presignPost({ ...route, bucket }, prefix, options);
  }

  private async route(service: ServiceName, bucket?: string): Promise<(Route & { pathStyle: boolean }) | undefined> {
    if (this.leftToSdk.has(service)) return undefined;
    const endpoint = directEndpoint(service, this.settings.region(), bucket);
    if (!endpoint) return undefined;
    const [{ httpAgent, httpsAgent }, identity] = await Promise.all([
      this.settings.agents(service),
      this.settings.identity(),
    ]);
    const agent = endpoint.url.protocol === 'https:' ? httpsAgent : httpAgent;
    return { ...endpoint, service, agent, identity, clockOffset: this.clockOffset, limits: limitsOf(service) };
  }

  private leaveToSdk(service: string): undefined {
    this.leftToSdk.add(service);
    return undefined;
  }

  private noteClock(date: string | undefined): void {
    const offset = Date.parse(date ?? '') - Date.now();
    if (Math.abs(offset - this.clockOffset) >= CLOCK_SKEW_MS) this.clockOffset = offset;
  }
}

/** When AWS answered, by its clock, ms since the epoch. */
export function dateOf({ date }: { date?: string }): number | undefined {
  return Date.parse(date ?? '') || undefined;
}
