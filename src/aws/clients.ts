import type { Agent as HttpAgent } from 'node:http';
import type { EC2Client, Instance } from '@aws-sdk/client-ec2';
import type { EC2InstanceConnectClient } from '@aws-sdk/client-ec2-instance-connect';
import type { PricingClient } from '@aws-sdk/client-pricing';
import type { S3Client } from '@aws-sdk/client-s3';
import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import type { ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import type { SSMClient } from '@aws-sdk/client-ssm';
import type { STSClient } from '@aws-sdk/client-sts';
import { Problem } from '../report/problem';
import { marksCalls } from './called';
import { Connections, type ServiceName } from './connections';
import { Credentials, type AwsSettings } from './credentials';
import { withJoinedBody } from './body';
import { dateOf, DirectClient, type Answer } from './direct/direct-client';
import { directEndpoint } from './direct/endpoint';
import { OPERATIONS, type Input, type OperationName, type Output } from './direct/operations';
import { customEndpoint } from './endpoint-variable';
import { httpHandler, type CountedUpload } from './http-handler';
import { unknownProfile } from './profiles';
import { sdk } from './sdk';
import { assertNamed, ListPages, requireWholeLists } from './whole-lists';

// Which Node this package runs on is said by its own `engines`, not in the output of each target.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

/** The region of the settings, in the name of a client. */
const OWN_REGION = 'of the settings';

/** A command of the SDK's, as `call` uses it. */
interface Command {
  middlewareStack: { add(middleware: (next: Next) => Next, where: { step: 'deserialize' }): void };
}
type Next = (request: unknown) => Promise<{ response: { headers?: Record<string, string> } }>;

/** A client of the SDK's, as `call` uses it. */
interface Sender<O> {
  send(
    command: Command,
    options: { abortSignal?: AbortSignal } & CountedUpload,
  ): Promise<O & { $metadata: { attempts?: number } }>;
}

/**
 * AWS as one command speaks to it. The SDK's clients are loaded and made when first asked for (four take about half a second
 * of processor time to load); `call` and `presign…` do without them where they can.
 * `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` are the SDK's own; nothing here knows local AWS from AWS.
 */
export class Aws {
  private isClosed = false;
  private readonly made = new Map<string, Promise<unknown>>();
  private readonly connections = new Connections(() => this.namedRegion());
  private readonly credentials: Credentials;
  private readonly direct = new DirectClient({
    region: () => this.namedRegion(),
    identity: () => this.credentials.identity(),
    agents: (service) => this.connections.of(service),
  });

  /** @param credentialsTimeout ms in which a source of credentials must have answered. */
  constructor(
    private readonly settings: AwsSettings,
    credentialsTimeout?: number,
  ) {
    this.credentials = new Credentials(settings, () => this.requestHandler('sts'), credentialsTimeout);
  }

  /** @param region of a bucket that is elsewhere. */
  s3(region?: string): Promise<S3Client> {
    return this.once(`s3 ${region ?? OWN_REGION}`, async () => {
      const { S3Client } = sdk.s3();
      return new S3Client({
        ...(await this.base('s3')),
        ...(region ? { region } : {}),
        // A host that is not AWS's has no DNS name for each bucket.
        forcePathStyle: customEndpoint('s3') !== undefined,
      });
    });
  }

  /** Sends no checksum that S3 does not require: for servers that refuse the headers. */
  s3WithoutChecksums(): Promise<S3Client> {
    return this.once('s3 without checksums', async () => {
      const { S3Client } = sdk.s3();
      const forcePathStyle = customEndpoint('s3') !== undefined;
      return new S3Client({ ...(await this.base('s3')), forcePathStyle, requestChecksumCalculation: 'WHEN_REQUIRED' });
    });
  }

  ssm(): Promise<SSMClient> {
    return this.once('ssm', async () => {
      const { SSMClient } = sdk.ssm();
      return new SSMClient(await this.base('ssm'));
    });
  }

  ec2(): Promise<EC2Client> {
    return this.once('ec2', async () => {
      const { EC2Client } = sdk.ec2();
      return new EC2Client(await this.base('ec2'));
    });
  }

  /** Sends each request once: what EC2 fails with is the caller's to judge, where no capacity is a 500. */
  ec2Once(): Promise<EC2Client> {
    return this.once('ec2 once', async () => {
      const { EC2Client } = sdk.ec2();
      return new EC2Client({ ...(await this.base('ec2')), retryStrategy: { retry: (next, args) => next(args) } });
    });
  }

  sts(): Promise<STSClient> {
    return this.once('sts', async () => {
      const { STSClient } = sdk.sts();
      return new STSClient(await this.base('sts'));
    });
  }

  secretsManager(): Promise<SecretsManagerClient> {
    return this.once('secretsmanager', async () => {
      const { SecretsManagerClient } = sdk.secretsManager();
      return new SecretsManagerClient(await this.base('secretsmanager'));
    });
  }

  /** One of the calls of a sync: without the SDK where that is possible, else, and after any failure, by the SDK. */
  async call<K extends OperationName>(
    name: K,
    input: Input<K>,
    abortSignal?: AbortSignal,
    onWritten?: CountedUpload['onWritten'],
  ): Promise<Answer<K>> {
    const direct = await this.direct.call(name, input, { signal: abortSignal, onWritten });
    if (direct) return direct;
    // What was cut off by it is not sent again.
    if (this.isClosed) throw new Error('AWS is not called any more.');
    const { service } = OPERATIONS[name];
    const commands = sdk[service]() as unknown as Record<string, new (input: Input<K>) => Command>;
    const client = (await this[service]()) as unknown as Sender<Output<K>>;
    const command = new commands[`${name}Command`](withJoinedBody(input));
    let date: number | undefined;
    command.middlewareStack.add(
      (next) => async (request) => {
        const answer = await next(request);
        date = dateOf(answer.response.headers ?? {});
        return answer;
      },
      { step: 'deserialize' },
    );
    const answer = await client.send(command, { abortSignal, onWritten });
    return { ...answer, attempts: answer.$metadata.attempts ?? 1, date };
  }

  /**
   * The instances that match, of all pages: with the fields of `DescribeInstancesOutput`.
   * @throws Error where the pages do not end.
   */
  async *instances(input: Input<'DescribeInstances'>, signal?: AbortSignal): AsyncGenerator<Instance> {
    const pages = new ListPages();
    let token: string | undefined;
    do {
      const page = await this.call('DescribeInstances', { ...input, NextToken: token }, signal);
      assertNamed(input, page);
      for (const { Instances = [] } of page.Reservations ?? []) yield* Instances;
      pages.add(token, page);
      token = page.NextToken;
    } while (token);
  }

  /** S3's clock against this machine's, ms, as far as answers have told. */
  async clockOffset(): Promise<number> {
    const s3 = await (this.made.get(`s3 ${OWN_REGION}`) as Promise<S3Client> | undefined);
    return s3?.config.systemClockOffset || this.direct.clockOffset;
  }

  /** AWS's time, ms since the epoch: this machine's, unless an answer has told that it is off by some minutes. */
  async now(): Promise<number> {
    return Date.now() + (await this.clockOffset());
  }

  /** Signs a URL that reads an object. @param lifetime seconds. @returns undefined where only the SDK can. */
  presignGet(bucket: string, key: string, lifetime: number): Promise<string | undefined> {
    return this.direct.presignGet(bucket, key, lifetime);
  }

  /** Signs a form that uploads objects below a prefix. @returns undefined where only the SDK can. */
  presignPost(bucket: string, prefix: string, options: Parameters<DirectClient['presignPost']>[2]) {
    return this.direct.presignPost(bucket, prefix, options);
  }

  /** The price list, which few regions answer for all. */
  pricing(): Promise<PricingClient> {
    return this.once('pricing', async () => {
      const { PricingClient } = sdk.pricing();
      const region = priceListRegion(await this.region());
      return new PricingClient({ ...(await this.base('pricing')), region, maxAttempts: 2 });
    });
  }

  serviceQuotas(): Promise<ServiceQuotasClient> {
    return this.once('servicequotas', async () => {
      const { ServiceQuotasClient } = sdk.serviceQuotas();
      return new ServiceQuotasClient({ ...(await this.base('servicequotas')), maxAttempts: 2 });
    });
  }

  instanceConnect(): Promise<EC2InstanceConnectClient> {
    return this.once('ec2-instance-connect', async () => {
      const { EC2InstanceConnectClient } = sdk.instanceConnect();
      return new EC2InstanceConnectClient(await this.base('ec2-instance-connect'));
    });
  }

  /** The region where no file has to be read for it. */
  private namedRegion(): string | undefined {
    return this.settings.region ?? process.env.AWS_REGION;
  }

  /** Begins to connect to a service: see `Connections`. */
  connect(service: ServiceName, bucket?: string): void {
    this.connections.open(service, bucket);
  }

  /** Resolves when a connection that `connect` has begun can be used, or there is none to wait for. */
  connected(service: ServiceName): Promise<void> {
    return this.connections.opened(service);
  }

  /** What a WebSocket goes through: see `Connections`. */
  webSocketAgent(url: string): Promise<HttpAgent> {
    return this.connections.webSocketAgent(url);
  }

  /** The access key in force: what a caller may be remembered by. Throws the SDK's own error where there is none. */
  async accessKey(): Promise<string> {
    return (await this.credentials.identity()).accessKeyId;
  }

  /** The region that is in force. Throws a `Problem` where none is set anywhere. */
  async region(): Promise<string> {
    const named = this.namedRegion();
    if (named && directEndpoint('ssm', named)) return named;
    const client = await this.ssm();
    try {
      return await client.config.region();
    } catch (cause) {
      const wrong = unknownProfile(this.settings.profile, cause);
      if (wrong) throw wrong;
      throw new Problem('REGION_MISSING', 'No AWS region is set.', {
        next: 'Set "region" in ec2.config.json or in the plugin\'s options in nx.json, or export AWS_REGION.',
        cause,
      });
    }
  }

  close(): void {
    this.isClosed = true;
    this.connections.close();
  }

  private once<T>(name: string, make: () => Promise<T>): Promise<T> {
    let made = this.made.get(name) as Promise<T> | undefined;
    if (!made) this.made.set(name, (made = make().then((client) => requireWholeLists(marksCalls(client)))));
    return made;
  }

  private async base(service: ServiceName) {
    return {
      region: this.settings.region,
      profile: this.settings.profile,
      credentials: await this.credentials.provider(),
      maxAttempts: 5,
      requestHandler: await this.requestHandler(service),
    };
  }

  private async requestHandler(service: ServiceName) {
    return httpHandler(service, await this.connections.of(service));
  }
}

/** Where the price list of a region is asked for (AWS's general reference, "Price List endpoints"). */
function priceListRegion(region: string): string {
  if (region.startsWith('cn-')) return 'cn-northwest-1';
  return region.startsWith('eu-') ? 'eu-central-1' : region.startsWith('ap-') ? 'ap-south-1' : 'us-east-1';
}
