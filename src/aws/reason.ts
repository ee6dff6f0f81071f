import type { ErrorCode } from '../report/error-codes';
import { Problem, type AwsReason, type Denied } from '../report/problem';
import { hideCredentials, withoutCredentials } from '../report/url-credentials';
import { calledBy } from './called';
import { parseDenial } from './denied';
import { endpointVariable } from './endpoint-variable';
import { refusedSettings } from './refused-settings';
import type * as Lookup from './permissions/lookup';

interface SdkError extends Error {
  code?: string;
  Code?: string;
  $metadata?: { httpStatusCode?: number; requestId?: string };
  $fault?: string;
}

/** AWS's code of an SDK error, e.g. `AccessDenied`; undefined for what did not come from AWS. */
export function awsCode(error: unknown): string | undefined {
  const sdk = error as SdkError;
  return sdk?.$metadata?.httpStatusCode !== undefined ? sdk.name : undefined;
}

/** The HTTP status of an SDK error. */
export function awsStatus(error: unknown): number | undefined {
  return (error as SdkError)?.$metadata?.httpStatusCode;
}

/** True for what may pass by itself: throttling, 5xx, resets, time-outs. */
export function isTransient(error: unknown): boolean {
  const sdk = error as SdkError;
  const status = awsStatus(error);
  if (status !== undefined) {
    return (
      (status >= 500 && status !== 501) ||
      status === 429 ||
      /Throttl|RequestLimitExceeded|SlowDown|TooManyRequests/.test(sdk.name)
    );
  }
  return (
    /^(ECONNRESET|ECONNREFUSED|ETIMEDOUT|EPIPE|EAI_AGAIN|ENOTFOUND|ENETUNREACH|EHOSTUNREACH|ENETDOWN|ECONNABORTED)$/.test(
      sdk?.code ?? '',
    ) || sdk?.name === 'TimeoutError'
  );
}

/** Codes of errors before a request was sent. */
const UNSENT = /^(ECONNREFUSED|EAI_AGAIN|ENOTFOUND|ENETUNREACH|EHOSTUNREACH|ENETDOWN|ERR_INVALID_URL)$/;

/** Whether AWS may have done what it was asked for: the request was sent, and nothing came that says what became of it. */
export function mayHaveHappened(error: unknown): boolean {
  const { name, code } = error as SdkError;
  const status = awsStatus(error);
  if (status !== undefined) return status >= 500 && status !== 501 && !/Throttl|RequestLimitExceeded/.test(name);
  return !/^(Credentials|Token)ProviderError$/.test(name) && !UNSENT.test(code ?? '');
}

/** Whether it is of a request to EC2 that changes something, and may have done so. */
function mayHaveChanged(error: unknown): boolean {
  return mayHaveHappened(error) && /^ec2:(?!Describe|Get)/.test(calledBy(error)?.action ?? '');
}

/**
 * An SDK error in our words.
 * @param what the sentence that says what failed, on what.
 * @param next what to do, if the caller knows better than the error's kind does.
 * @param settings the settings that AWS refuses, if the caller knows better.
 */
export function awsProblem(
  code: ErrorCode,
  what: string,
  error: unknown,
  next?: string,
  settings: readonly string[] = refusedSettings(error),
): Problem {
  if (error instanceof Problem) return error;
  const sdk = error as SdkError;
  const name = sdk?.name ?? 'Error';
  const status = awsStatus(error);
  if (name === 'CredentialsProviderError' || name === 'TokenProviderError') {
    return new Problem('CREDENTIALS', `${what} No usable AWS credentials: ${sdk.message}`, {
      next: 'Sign in (aws sso login), export AWS_PROFILE, or set "profile" in ec2.config.json.',
      settings: ['profile'],
      cause: error,
    });
  }
  if (status === undefined) {
    return new Problem(
      code,
      `${what} ${sdk?.code ? `${sdk.code}: ` : ''}${hideCredentials(sdk?.message || String(error))}`,
      {
        next:
          next ??
          `${mayHaveChanged(error) ? 'EC2 may have done it all the same: only the answer was lost. ' : ''}${networkHint(sdk)}`,
        settings,
        cause: error,
      },
    );
  }
  if (status === 407) {
    return new Problem('PROXY', `${what} The proxy requires a name and a password (HTTP 407).`, {
      next: 'Put them into HTTPS_PROXY: http://name:password@host:port, each percent-encoded.',
      cause: error,
    });
  }
  const denied = deniedBy(error);
  const aws: AwsReason = {
    code: name,
    message: ownWords(sdk),
    status,
    requestId: sdk.$metadata?.requestId,
    ...(denied ? { denied } : {}),
  };
  return new Problem(code, what, { aws, next: next ?? hint(sdk, denied), settings, cause: error });
}

/** The permission that an error is for the want of: as AWS names it, else that of the call which failed. */
export function deniedBy(error: unknown): Denied | undefined {
  const { name, message } = error as SdkError;
  if (OBJECT_LOCK.test(message)) return undefined;
  // Of what is not there S3 says 403 as well, to whoever may not list: the caller of this knows.
  if (!DENIED.test(name) && !(awsStatus(error) === 403 && NAMELESS.test(name))) return undefined;
  const said = parseDenial(message);
  const called = calledBy(error);
  const action = said?.action ?? (name.startsWith('AuthFailure') ? 'iam:CreateServiceLinkedRole' : called?.action);
  if (!action) return undefined;
  const resource = said?.resource ?? (action === called?.action ? called.resource : null);
  return { action, resource, explicit: said?.explicit ?? false };
}

const DENIED = /AccessDenied|UnauthorizedOperation|ServiceLinkedRoleCreationNotPermitted|^(Forbidden|403)$/;
/** S3: "Access Denied because object protected by object lock." */
const OBJECT_LOCK = /\bobject[ -]?lock(ed)?\b|\bWORM\b/i;
/** What the SDK calls an answer without a body, such as that to a HEAD. */
const NAMELESS = /^Unknown(Error)?$/;

/** What the service wrote; the SDK fills in where nothing came, as to a HEAD request or from a proxy. */
function ownWords({ message, $metadata }: SdkError): string {
  return /^Unknown(Error)?$/.test(message) ? `(HTTP ${$metadata?.httpStatusCode}, without a message)` : message;
}

const TOO_LONG = 'AWS answers in fewer bytes: check HTTPS_PROXY and AWS_ENDPOINT_URL.';

function hint({ name, message }: SdkError, denied: Denied | undefined): string | undefined {
  if (denied) return describeDenied(denied);
  if (OBJECT_LOCK.test(message))
    return "Object Lock protects the object until its retention ends, whatever the caller's permissions. Use a bucket without Object Lock for the store.";
  if (/^(ExpiredToken|ExpiredTokenException|RequestExpired)$/.test(name))
    return 'The credentials have expired: sign in again.';
  if (
    /^(InvalidClientTokenId|UnrecognizedClientException|InvalidAccessKeyId|AuthFailure|SignatureDoesNotMatch)$/.test(
      name,
    )
  ) {
    return 'To check which credentials are used: aws sts get-caller-identity';
  }
  if (/^(RequestTimeTooSkewed)$/.test(name))
    return "This machine's clock is off. Set it, and run the same command again.";
  if (name === 'AnswerTooLong') return TOO_LONG;
  if (DENIED.test(name)) {
    return 'The caller lacks a permission. Attach the CallerPolicy of nx g nx-ec2:aws-setup to it.';
  }
  return undefined;
}

// Loaded where something is refused.
// eslint-disable-next-line @typescript-eslint/no-require-imports
const permissions = () => require('./permissions/lookup') as typeof Lookup;

function describeDenied({ action, explicit }: Denied): string {
  if (explicit)
    return `${action} is denied to the caller by an explicit Deny; a policy that allows it does not help. Ask the administrator of the account.`;
  const policy = permissions().policyWith(action);
  return `The caller lacks ${action}${policy ? `: the ${policy} of nx g nx-ec2:aws-setup has it` : ''}.`;
}

function networkHint(error: SdkError | undefined): string | undefined {
  if (error?.code === 'FOREIGN_ANSWER')
    return 'A proxy or the sign-in page of a network answered. Open a web page in a browser to sign in, or check HTTPS_PROXY and AWS_ENDPOINT_URL.';
  if (error?.name === 'AnswerTooLong') return TOO_LONG;
  if (error?.code === 'ERR_INVALID_URL')
    return 'Check "endpoint_url" of the profile in the AWS configuration file: it is no URL of the form http://host:port or https://host.';
  if (error?.name === 'TimeoutError')
    return 'Nothing answered in time: check the network, the proxy (HTTPS_PROXY) and the route to AWS, and try again.';
  if (error?.code === 'ECONNREFUSED') {
    const name = endpointVariable(calledBy(error)?.action.split(':')[0] ?? '');
    return name
      ? `Nothing answers at ${name} (${withoutCredentials(process.env[name]!)}): check the address, and that the server runs. To start local AWS: npx nx-ec2 local-aws`
      : 'Check the network and the proxy settings (HTTPS_PROXY).';
  }
  if (/certificate/i.test(error?.message ?? ''))
    return 'If a proxy has its own certificate authority, point AWS_CA_BUNDLE or NODE_EXTRA_CA_CERTS to its certificate.';
  return 'Check the network, the region and the proxy settings (HTTPS_PROXY), and try again.';
}
