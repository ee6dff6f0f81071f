import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { getProxyForUrl } from 'proxy-from-env';
import { certificateAuthorities } from './certificate-authorities';
import { directEndpoint } from './direct/endpoint';
import { EarlyConnections } from './early-connection';
import { validEndpoint } from './endpoint-variable';
import { isLoopback } from './loopback';
import { proxyFor } from './proxy';

export type ServiceName =
  's3' | 'ssm' | 'ec2' | 'ec2-instance-connect' | 'sts' | 'secretsmanager' | 'pricing' | 'servicequotas';

export interface ServiceAgents {
  httpAgent: HttpAgent;
  httpsAgent: HttpsAgent;
}

const KEPT_ALIVE = { keepAlive: true, maxSockets: 50 };

/** The connections of one command, kept alive, with the proxy and the authorities in force. */
export class Connections {
  private readonly services = new Map<string, Promise<ServiceAgents>>();
  private readonly webSockets = new Map<string, Promise<HttpAgent>>();
  /** Closed at the end. */
  private readonly agents: HttpAgent[] = [];
  private readonly early = new EarlyConnections();

  /** @param region the region as far as it is known without the SDK. */
  constructor(private readonly region: () => string | undefined) {}

  /** The agents of a service. */
  of(service: ServiceName): Promise<ServiceAgents> {
    return once(this.services, service, () => this.makeAgents(service));
  }

  /** What a WebSocket goes through: the proxy and the authorities that everything else does. */
  webSocketAgent(url: string): Promise<HttpAgent> {
    return once(this.webSockets, new URL(url).origin, async () =>
      // The proxy of a WebSocket is that of https.
      url.startsWith('wss:') ? (await this.secureAgent(url.replace(/^wss/, 'https'))).agent : this.plainAgent(),
    );
  }

  /**
   * Begins to connect to a service that will be spoken to, before there is a request. Does nothing where the host
   * can't be told yet, or a proxy is in between.
   * @param bucket for S3: the bucket, which is in the host's name.
   */
  open(service: ServiceName, bucket?: string): void {
    const url = directEndpoint(service, this.region(), bucket)?.url;
    if (!url || (!isLoopback(url.href) && getProxyForUrl(url.href))) return;
    try {
      this.early.open(url, certificateAuthorities(), service);
    } catch {
      // Whoever sends the first request says what is wrong with the authorities.
    }
  }

  /** Resolves when what `open` has begun for a service has ended, in one way or another. */
  opened(service: ServiceName): Promise<void> {
    return this.early.settled(service);
  }

  close(): void {
    this.early.close();
    for (const agent of this.agents) agent.destroy();
    this.agents.length = 0;
  }

  private async makeAgents(service: ServiceName): Promise<ServiceAgents> {
    const host = `${service === 'pricing' ? 'api.pricing' : service}.${this.region() ?? 'us-east-1'}.amazonaws.com`;
    const { agent: httpsAgent, proxied } = await this.secureAgent(validEndpoint(service) ?? `https://${host}`);
    const httpAgent = this.plainAgent();
    for (const agent of [httpAgent, ...(proxied ? [] : [httpsAgent])]) this.early.serve(agent);
    return { httpAgent, httpsAgent };
  }

  private async secureAgent(target: string): Promise<{ agent: HttpsAgent; proxied: boolean }> {
    const ca = certificateAuthorities();
    const proxy = proxyFor(target);
    let agent: HttpsAgent;
    if (proxy) {
      const { HttpsProxyAgent } = await import('https-proxy-agent');
      // HttpsProxyAgent passes what the TLS connection behind the proxy needs to `connect`; `ca` also serves an https:// proxy.
      agent = new HttpsProxyAgent(proxy, { ...KEPT_ALIVE, ca }) as unknown as HttpsAgent;
      if (ca) (agent.options as { ca?: string[] }).ca = ca;
    } else {
      agent = new HttpsAgent({ ...KEPT_ALIVE, ca });
    }
    this.agents.push(agent);
    return { agent, proxied: Boolean(proxy) };
  }

  private plainAgent(): HttpAgent {
    const agent = new HttpAgent(KEPT_ALIVE);
    this.agents.push(agent);
    return agent;
  }
}

function once<T>(kept: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  let made = kept.get(name);
  if (!made) kept.set(name, (made = make()));
  return made;
}
