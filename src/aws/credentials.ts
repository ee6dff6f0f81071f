import type { AwsCredentialIdentity, AwsCredentialIdentityProvider } from '@smithy/types';
import type { httpHandler } from './http-handler';
import { unknownProfile } from './profiles';
import { sdk } from './sdk';

/** Where and as whom AWS is spoken to. Absent values are the SDK's own resolution (environment, profile, SSO, roles). */
export interface AwsSettings {
  region?: string;
  profile?: string;
  /** A role to assume with those credentials. */
  roleArn?: string;
}

/** Without a logger, the SDK prints nine lines of its own where there are both keys and a profile, which it then takes. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

/**
 * A source of credentials that has not answered after this long, ms, is given up: the SDK waits for a
 * `credential_process`, and for the endpoint of a container, without a limit. A sign-in in a browser, and five attempts
 * at STS, take less.
 */
const CREDENTIALS_TIMEOUT_MS = 3 * 60_000;

/** Credentials are renewed this long before they expire, ms, as in the SDK. */
const RENEW_BEFORE_MS = 5 * 60_000;

/** As whom AWS is spoken to. */
export class Credentials {
  private chain?: Promise<AwsCredentialIdentityProvider>;
  private inForce?: Promise<AwsCredentialIdentity>;

  /** @param timeout ms in which a source of credentials must have answered. */
  constructor(
    private readonly settings: AwsSettings,
    private readonly stsHandler: () => Promise<ReturnType<typeof httpHandler>>,
    private readonly timeout = CREDENTIALS_TIMEOUT_MS,
  ) {}

  /** For the SDK's clients. */
  provider(): Promise<AwsCredentialIdentityProvider> {
    return (this.chain ??= this.makeProvider());
  }

  /** The credentials in force; others before these expire. Throws the SDK's own error where there are none. */
  async identity(): Promise<AwsCredentialIdentity> {
    const known = (this.inForce ??= this.find());
    try {
      const { expiration } = await known;
      if (!expiration || expiration.getTime() - Date.now() > RENEW_BEFORE_MS) return await known;
      if (this.inForce === known) this.inForce = this.find();
      return await this.inForce;
    } catch (error) {
      this.inForce = undefined;
      throw error;
    }
  }

  private async find(): Promise<AwsCredentialIdentity> {
    return this.fromEnvironment() ?? (await (await this.provider())());
  }

  /** The keys of the environment, where the SDK takes them before anything else. */
  private fromEnvironment(): AwsCredentialIdentity | undefined {
    const { AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
    if (this.settings.profile || this.settings.roleArn || AWS_PROFILE) return undefined;
    if (!AWS_ACCESS_KEY_ID || !AWS_SECRET_ACCESS_KEY) return undefined;
    return {
      accessKeyId: AWS_ACCESS_KEY_ID,
      secretAccessKey: AWS_SECRET_ACCESS_KEY,
      ...(AWS_SESSION_TOKEN ? { sessionToken: AWS_SESSION_TOKEN } : {}),
    };
  }

  private async makeProvider(): Promise<AwsCredentialIdentityProvider> {
    const { fromNodeProviderChain, fromTemporaryCredentials } = sdk.credentials();
    const clientConfig = { requestHandler: await this.stsHandler() };
    const { profile, roleArn, region } = this.settings;
    const chain = withTimeout(this.timeout, fromNodeProviderChain({ profile, clientConfig, logger: SILENT }));
    // Credentials may be found elsewhere although the profile is missing: it is looked for where there are none.
    const own: typeof chain = (properties) =>
      chain(properties).catch((error: unknown) => {
        throw unknownProfile(profile, error) ?? error;
      });
    if (!roleArn) return own;
    return fromTemporaryCredentials({
      masterCredentials: own,
      params: { RoleArn: roleArn, RoleSessionName: 'nx-ec2' },
      clientConfig: { ...clientConfig, region },
    });
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
