import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { EC2Client } from '@aws-sdk/client-ec2';
import type { PricingClient } from '@aws-sdk/client-pricing';
import type { S3Client } from '@aws-sdk/client-s3';
import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import type { ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import type { SSMClient } from '@aws-sdk/client-ssm';
import type { STSClient } from '@aws-sdk/client-sts';
import { getProxyForUrl } from 'proxy-from-env';
import { Problem } from '../report/problem';
import { marksCalls } from './called';
import { EarlyConnections } from './early-connection';
import { customEndpoint, validEndpoint } from './endpoint-variable';
import { httpHandler } from './http-handler';
import { unknownProfile } from './profiles';
import { isLoopback } from './loopback';
import { proxyFor } from './proxy';
import { sdk } from './sdk';
import { certificateAuthorities } from './certificate-authorities';

/** Where and as whom AWS is spoken to. Absent values are the SDK's own resolution (environment, profile, SSO, roles). */
export interface AwsSettings {
  region?: string;
  profile?: string;
  /** A role to assume with those credentials. */
  roleArn?: string;
}

// Which Node this package runs on is said by its own `engines`, not in the output of each target.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

/** Without a logger, the SDK prints nine lines of its own where there are both keys and a profile, which it then takes. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

/**
 * A source of credentials that has not answered after this long, ms, is given up: the SDK waits for a
 * `credential_process`, and for the endpoint of a container, without a limit. A sign-in in a browser, and five attempts
 * at STS, take less.
 */
const CREDENTIALS_TIMEOUT_MS = 3 * 60_000;

type ServiceName = 's3' | 'ssm' | 'ec2' | 'sts' | 'secretsmanager' | 'pricing' | 'servicequotas';

/**
 * The SDK's clients, each loaded and made when first asked for (the four take about half a second to load).
 * `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` are the SDK's own; nothing here knows local AWS from AWS.
 */
export class Aws {
  private readonly made = new Map<string, Promise<unknown>>();
  /** Sockets kept by our agents, closed at the end. */
  private readonly agents: (HttpAgent | HttpsAgent)[] = [];
  private readonly early = new EarlyConnections();

  /** @param credentialsWithin ms in which a source of credentials must have answered. */
  constructor(
    private readonly settings: AwsSettings,
    private readonly credentialsWithin = CREDENTIALS_TIMEOUT_MS,
  ) {}

  /** @param region of a bucket that is elsewhere. */
  s3(region?: string): Promise<S3Client> {
    return this.once(`s3 ${region ?? ''}`, async () => {
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

  /**
   * Begins to connect to a service that will be spoken to, before its client is loaded. Does nothing where the host
   * can't be told yet, or a proxy is in between.
   * @param bucket for S3: the bucket, which is in the host's name.
   */
  connect(service: ServiceName, bucket?: string): void {
    const url = customEndpoint(service) ?? this.usualEndpoint(service, bucket);
    if (!url || !URL.canParse(url) || (!isLoopback(url) && getProxyForUrl(url))) return;
    try {
      this.early.open(new URL(url), certificateAuthorities(), service);
    } catch {
      // Whoever loads the client says what is wrong with its authorities.
    }
  }

  /** AWS's own host, where region and environment leave no doubt of it. */
  private usualEndpoint(service: ServiceName, bucket?: string): string | undefined {
    const region = this.settings.region ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
    const { AWS_USE_FIPS_ENDPOINT: fips, AWS_USE_DUALSTACK_ENDPOINT: dual, AWS_PROFILE } = process.env;
    if (!region || fips === 'true' || dual === 'true' || AWS_PROFILE || this.settings.profile) return undefined;
    // China, GovCloud and the isolated partitions have names of their own; a dot in a bucket's name has no certificate.
    if (
      !/^(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d$/.test(region) ||
      region.startsWith('us-iso') ||
      bucket?.includes('.')
    )
      return undefined;
    return `https://${bucket ? `${bucket}.` : ''}${service}.${region}.amazonaws.com`;
  }

  /** The access key in force: what a caller may be remembered by. Throws the SDK's own error where there is none. */
  async accessKey(): Promise<string> {
    return (await (await this.ssm()).config.credentials()).accessKeyId;
  }

  /** What a WebSocket goes through: the proxy and the authorities that everything else does. */
  webSocketAgent(url: string): Promise<HttpAgent> {
    return this.once(`web socket ${new URL(url).origin}`, async () =>
      // The proxy of a WebSocket is that of https.
      url.startsWith('wss:') ? (await this.secureAgent(url.replace(/^wss/, 'https'))).agent : this.plainAgent(),
    );
  }

  /** The region that is in force. Throws a `Problem` where none is set anywhere. */
  async region(): Promise<string> {
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
    this.early.close();
    for (const agent of this.agents) agent.destroy();
    this.agents.length = 0;
  }

  private once<T>(name: string, make: () => Promise<T>): Promise<T> {
    let made = this.made.get(name) as Promise<T> | undefined;
    if (!made) this.made.set(name, (made = make().then(marksCalls)));
    return made;
  }

  private async base(service: ServiceName) {
    return {
      region: this.settings.region,
      profile: this.settings.profile,
      credentials: await this.once('credentials', () => this.credentials()),
      maxAttempts: 5,
      requestHandler: await this.requestHandler(service),
    };
  }

  private async credentials() {
    const { fromNodeProviderChain, fromTemporaryCredentials } = sdk.credentials();
    const clientConfig = { requestHandler: await this.requestHandler('sts') };
    const { profile } = this.settings;
    const chain = withTimeout(this.credentialsWithin, fromNodeProviderChain({ profile, clientConfig, logger: SILENT }));
    // Credentials may be found elsewhere although the profile is missing: it is looked for where there are none.
    const own: typeof chain = (properties) =>
      chain(properties).catch((error: unknown) => {
        throw unknownProfile(profile, error) ?? error;
      });
    if (!this.settings.roleArn) return own;
    return fromTemporaryCredentials({
      masterCredentials: own,
      params: { RoleArn: this.settings.roleArn, RoleSessionName: 'nx-ec2' },
      clientConfig: { ...clientConfig, region: this.settings.region },
    });
  }

  private async requestHandler(service: ServiceName) {
    const endpoint = validEndpoint(service);
    const target =
      endpoint ??
      `https://${service === 'pricing' ? 'api.pricing' : service}.${this.settings.region ?? process.env.AWS_REGION ?? 'us-east-1'}.amazonaws.com`;
    const { agent: httpsAgent, proxied } = await this.secureAgent(target);
    const httpAgent = this.plainAgent();
    for (const agent of [httpAgent, ...(proxied ? [] : [httpsAgent])]) this.early.serve(agent);
    return httpHandler(service, { httpAgent, httpsAgent });
  }

  private async secureAgent(target: string): Promise<{ agent: HttpsAgent; proxied: boolean }> {
    const ca = certificateAuthorities();
    const proxy = proxyFor(target);
    let agent: HttpsAgent;
    if (proxy) {
      const { HttpsProxyAgent } = await import('https-proxy-agent');
      // HttpsProxyAgent passes what the TLS connection behind the proxy needs to `connect`; `ca` also serves an https:// proxy.
      agent = new HttpsProxyAgent(proxy, { keepAlive: true, maxSockets: 50, ca }) as unknown as HttpsAgent;
      if (ca) (agent.options as { ca?: string[] }).ca = ca;
    } else {
      agent = new HttpsAgent({ keepAlive: true, maxSockets: 50, ca });
    }
    this.agents.push(agent);
    return { agent, proxied: Boolean(proxy) };
  }

  private plainAgent(): HttpAgent {
    const agent = new HttpAgent({ keepAlive: true, maxSockets: 50 });
    this.agents.push(agent);
    return agent;
  }
}

/** A provider that fails where it has not answered in time. */
function withTimeout<P, T>(ms: number, provider: (properties?: P) => Promise<T>): (properties?: P) => Promise<T> {
  return async (properties) => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const message = `The source of the credentials has not answered for ${ms / 1000} s: a credential_process, the endpoint of a container or pod, or STS hangs.`;
        reject(Object.assign(new Error(message), { name: 'CredentialsProviderError' }));
      }, ms);
    });
    try {
      return await Promise.race([provider(properties), late]);
    } finally {
      clearTimeout(timer);
    }
  };
}

/** Where the price list of a region is asked for (AWS's general reference, "Price List endpoints"). */
function priceListRegion(region: string): string {
  if (region.startsWith('cn-')) return 'cn-northwest-1';
  return region.startsWith('eu-') ? 'eu-central-1' : region.startsWith('ap-') ? 'ap-south-1' : 'us-east-1';
}
