import { createHash } from 'node:crypto';
import { realpathSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { isLoopback } from '../aws/loopback';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';
import { withoutCredentials } from '../report/url-credentials';
import { policyAllows, policySchema, type Policy, type Rule } from './policy-schema';
import { assertUserDataAllowed, instanceRules } from './policy-instances';
import { readText } from './syntax/read-text';
import { repeatedKey } from './syntax/repeated-key';
import { configuredEndpoints } from './configured-endpoints';
import { environmentOfNx, WorkspaceVariables } from './workspace-variables';
import type { Configuration } from './settings/types';

/**
 * A name that may hold secrets: `.env*`, and the other files that Nx loads as such (`.local.env`, `.<target>.env`); and git's
 * directory: its `config` holds the token with which a CI job has fetched the repository. Where case does not count,
 * `.ENV` is the same file.
 */
const CREDENTIAL_FILE = /^\.(env|git$|.*\.env$)/is;

/** The same in a path that holds no character to be ignored. */
const CREDENTIAL_IN_PATH = /(^|\/)\.(env|git(\/|$)|[^/]*\.env(\/|$))/i;
const PLAIN = /^[ -~]*$/;

/** Whether a path is that of a credential file, or in a directory of such a name. HFS+ ignores unseen characters. */
export function isCredentialPath(path: string): boolean {
  if (PLAIN.test(path)) return CREDENTIAL_IN_PATH.test(path);
  return path.split('/').some((part) => CREDENTIAL_FILE.test(part.replace(/\p{Default_Ignorable_Code_Point}/gu, '')));
}

/** What a policy looks at: all of it for what concerns a project, the connection for what concerns the store. */
type Limited = Pick<Configuration, 'prefix' | 'profile' | 'roleArn' | 'region' | 'kmsKeyId'> &
  Partial<Pick<Configuration, 'bucket' | 'projectRoot' | 'instances' | 'sync' | 'user' | 'remoteRoot'>> & {
    train?: Partial<Pick<Configuration['train'], 'secrets' | 'passEnv'>> & { datasets?: readonly { source: string }[] };
  };

/** What an endpoint is set by, for all services or for one. */
const ENDPOINT_VARIABLE = /^AWS_ENDPOINT_URL(_[A-Z0-9_]+)?$/;
/** The policy itself, and where the secrets of stores are kept. */
const NEVER_BY_WORKSPACE = ['NX_EC2_POLICY', 'NX_EC2_CACHE_DIRECTORY', 'XDG_CACHE_HOME', 'HOME', 'USERPROFILE'];
/** A file of these can name an endpoint itself (`endpoint_url`), and programs that are run for credentials. */
const CONFIG_FILE_VARIABLE = /^AWS_(CONFIG|SHARED_CREDENTIALS)_FILE$/i;
const PROXY_VARIABLE = /^(NPM_CONFIG_)?((HTTPS?|ALL)_)?PROXY$/i;
const AUTHORITY_VARIABLE = /^(AWS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED|SSL_CERT_(FILE|DIR))$/i;
/** Variables that decide as whom AWS is asked, who is believed to be AWS, and what nx-ec2 remembers. */
const TRUST_VARIABLE =
  /^(AWS_.*|NX_EC2_.*|NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED|SSL_CERT_(FILE|DIR)|(NPM_CONFIG_)?(HTTPS?|ALL|NO)_PROXY|NPM_CONFIG_(NO)?PROXY)$/i;
/** Set by this package itself, for the SDK. */
const OWN_VARIABLE = 'AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED';

/**
 * Applies every policy file that is found: each must allow what it has a key for.
 * @throws Problem where the configuration, or a variable that a file of the workspace has set, is not allowed.
 */
export function enforcePolicy(
  configuration: Limited,
  workspaceRoot: string,
  environment: NodeJS.ProcessEnv,
  startedWith = environment === process.env ? environmentOfNx : undefined,
): void {
  const roots = ['', ...(configuration.projectRoot ? [configuration.projectRoot] : [])];
  const variables = new WorkspaceVariables(workspaceRoot, roots, environment, startedWith);
  for (const name of NEVER_BY_WORKSPACE)
    assertNotSetByWorkspace(name, variables.fileOf(name) ?? variables.fileThatEmpties(name));
  const policies = policyPaths(environment).map((path) => readPolicy(path, workspaceRoot));
  enforceVariables(policies, variables, environment);
  for (const policy of policies) {
    enforceConfiguredEndpoints(policy, configuration.profile, environment);
    for (const [key, allowed, value] of rulesOf(policy, configuration)) enforceRule(policy, key, allowed, value);
    assertUserDataAllowed(policy, configuration.instances ?? []);
  }
  if (policies.some((policy) => policy.variables))
    for (const name of configuration.train?.passEnv ?? []) assertNotExpanded(name, variables.fileThatExpands(name));
  const named = configuration.sync?.include.find(isCredentialPath);
  if (named !== undefined) rejectCredentialFile(named, policies, variables);
}

/**
 * Applies the rule for credential files to one that is about to be sent, whatever pattern has named it.
 * @throws Problem where the policies, or CI without a policy, do not let it be sent.
 */
export function enforceCredentialPolicy(
  path: string,
  { workspaceRoot, projectRoot }: { workspaceRoot: string; projectRoot: string },
  environment = process.env,
): void {
  const startedWith = environment === process.env ? environmentOfNx : undefined;
  const variables = new WorkspaceVariables(workspaceRoot, ['', projectRoot], environment, startedWith);
  const policies = policyPaths(environment).map((each) => readPolicy(each, workspaceRoot));
  rejectCredentialFile(path, policies, variables);
}

function rejectCredentialFile(named: string, policies: Policy[], variables: WorkspaceVariables): void {
  const strict = policies.find(({ envFiles }) => !envFiles);
  if (!strict && (policies.length || !variables.mayBeSet('CI'))) return;
  throw new Problem(
    'POLICY',
    `"sync.include" names ${sanitizeForTerminal(named)}, which is not sent ${strict ? `under the policy ${strict.path}` : 'in CI'}.`,
    { next: 'A policy file outside the repository (NX_EC2_POLICY) can allow it: { "envFiles": true }.' },
  );
}

/** An instance that a run's record names, as EC2 describes it. */
export interface RecordedInstance {
  id: string;
  type: string;
  tags: Record<string, string>;
  /** Whether nx-ec2 launched it for this project. */
  managed: boolean;
}

/**
 * Applies every policy file to an instance that a run's record names, as to one that the configuration names.
 * @returns whether a policy allows it by its id, name or tag.
 * @throws Problem where one does not allow it.
 */
export function enforceInstancePolicy(
  { id, type, tags, managed }: RecordedInstance,
  workspaceRoot: string,
  environment: NodeJS.ProcessEnv,
): boolean {
  const names = [id, ...(tags.Name ? [tags.Name] : []), ...Object.entries(tags).map((tag) => tag.join('='))];
  let allowed = false;
  for (const path of policyPaths(environment)) {
    const policy = readPolicy(path, workspaceRoot);
    if (!policy.instances) continue;
    if (names.some((name) => policyAllows(policy.instances!, name))) allowed = true;
    else if (managed) enforceRule(policy, 'instance.type', policy.instanceTypes ?? [], type);
    else enforceRule(policy, 'instance', policy.instances, id);
  }
  return allowed;
}

/** Whether every policy file allows to take the result of a run that this caller (an ARN) has started. */
export function allowsResultsOf(caller: string, workspaceRoot: string, environment: NodeJS.ProcessEnv): boolean {
  return policyPaths(environment)
    .map((path) => readPolicy(path, workspaceRoot))
    .every(({ callers }) => !callers || policyAllows(callers, caller));
}

function rulesOf(policy: Policy, configuration: Limited): Rule[] {
  const { train } = configuration;
  return [
    ['bucket', policy.buckets, configuration.bucket],
    // Without a bucket nothing lies below a prefix: a cache key's datasets, list.
    [
      'prefix',
      policy.prefixes?.map(withSlash),
      configuration.bucket === undefined ? undefined : withSlash(configuration.prefix),
    ],
    ['profile', policy.profiles, configuration.profile],
    ['roleArn', policy.roles, configuration.roleArn],
    ...(configuration.instances ?? []).flatMap((name) => instanceRules(policy, name)),
    ['region', policy.regions, configuration.region],
    ['kmsKeyId', policy.kmsKeys, configuration.kmsKeyId],
    ['user', policy.users, configuration.user],
    // Root works there: where users are limited, root's directory is not the repository's to choose.
    ['remoteRoot', policy.remoteRoots ?? (policy.users && []), configuration.remoteRoot],
    ...Object.values(train?.secrets ?? {}).map((source): Rule => ['train.secrets', policy.secrets, source]),
    ...(train?.datasets ?? []).map(({ source }): Rule => ['train.datasets', policy.datasets, source]),
    ...(train?.passEnv ?? []).map((name): Rule => ['train.passEnv', policy.variables, name]),
  ];
}

/** A prefix is the same with and without a slash at its end. */
function withSlash(prefix: string): string {
  return prefix === '' || /[/*]$/.test(prefix) ? prefix : `${prefix}/`;
}

function enforceRule(
  policy: Policy,
  key: string,
  allowed: string[] | undefined,
  value: string | undefined,
  shown = value,
): void {
  if (!allowed || value === undefined || policyAllows(allowed, value)) return;
  throw new Problem('POLICY', `The policy ${policy.path} does not allow "${key}": "${shown}".`, {
    next: `It allows: ${allowed.join(', ') || 'none'}.`,
    settings: [key],
  });
}

/**
 * Endpoints are held against `endpoints`, whoever set them. A file of the workspace may set one on loopback alone, and
 * nothing that leads elsewhere likewise: no configuration file of the SDK, and no proxy together with an authority that
 * vouches for it. Under a policy it may set no other variable that says as whom AWS is asked or who is believed to be AWS,
 * nor take one away: a region and a profile are held against the policy as those of the configuration are.
 */
function enforceVariables(policies: Policy[], variables: WorkspaceVariables, environment: NodeJS.ProcessEnv): void {
  const names = variables.names();
  const isProxied = names.some((name) => PROXY_VARIABLE.test(name) && environment[name] && variables.fileOf(name));
  for (const name of names) {
    const value = environment[name];
    if (!TRUST_VARIABLE.test(name) || name === OWN_VARIABLE) continue;
    const file = variables.fileOf(name);
    if (ENDPOINT_VARIABLE.test(name)) {
      for (const policy of policies)
        enforceRule(policy, name, policy.endpoints, value || undefined, value && withoutCredentials(value));
      if (!value || !isLoopback(value)) assertNotSetByWorkspace(name, file);
    } else if (value && /^AWS_(DEFAULT_)?REGION$/.test(name)) {
      if (file) for (const policy of policies) enforceRule(policy, name, policy.regions, value);
    } else if (value && /^AWS_(DEFAULT_)?PROFILE$/.test(name)) {
      if (file) for (const policy of policies) enforceRule(policy, name, policy.profiles, value);
    } else if (policies.length || CONFIG_FILE_VARIABLE.test(name) || (isProxied && AUTHORITY_VARIABLE.test(name))) {
      assertNotSetByWorkspace(name, file);
    }
  }
}

/** What the AWS configuration files say is held against the same key: CI may name one that the repository brings. */
function enforceConfiguredEndpoints(policy: Policy, profile: string | undefined, environment: NodeJS.ProcessEnv): void {
  if (!policy.endpoints) return;
  for (const { file, url } of configuredEndpoints(profile, environment))
    enforceRule(policy, `endpoint_url in ${file}`, policy.endpoints, url, withoutCredentials(url));
}

function assertNotSetByWorkspace(name: string, file: string | undefined): void {
  if (!file) return;
  throw new Problem('POLICY', `${file} sets ${name}, which a file of the workspace may not set.`, {
    next: `Remove it from ${file} and set it in the shell, or in the settings of the CI service.`,
  });
}

/** The value of a variable that a policy lets through may be that of one that it does not. */
function assertNotExpanded(name: string, file: string | undefined): void {
  if (!file) return;
  throw new Problem(
    'POLICY',
    `"train.passEnv" passes ${sanitizeForTerminal(name)}, which ${file} sets: with a "$" in it, the file may set it to the value of another variable.`,
    { next: `Set it in the shell, or in a file without "$".` },
  );
}

/**
 * SHA-256 over the policies that apply, null where there are none. A result that was made under other policies, which Nx
 * has in its cache, may be one that these do not allow.
 * @throws Problem where one can't be used
 */
export function policyDigest(environment: NodeJS.ProcessEnv, workspaceRoot: string): string | null {
  const policies = policyPaths(environment).map((path) => ({ ...readPolicy(path, workspaceRoot), path: null }));
  return policies.length ? createHash('sha256').update(JSON.stringify(policies)).digest('hex') : null;
}

/** The policy that the environment names, and those of the user and of the machine where there are any. */
function policyPaths(environment: NodeJS.ProcessEnv): string[] {
  const named = environment.NX_EC2_POLICY ? [resolve(environment.NX_EC2_POLICY)] : [];
  const usual = [
    ...homes(environment).map((home) => join(home, '.config/nx-ec2/policy.json')),
    '/etc/nx-ec2/policy.json',
  ];
  return [...new Set([...named, ...usual.filter(isPresent)])];
}

/** The home directory that the environment names, and that of the account, which no variable changes. */
function homes({ HOME, USERPROFILE }: NodeJS.ProcessEnv): string[] {
  const named = [HOME, USERPROFILE].filter((home): home is string => Boolean(home));
  try {
    return [...named, userInfo().homedir];
  } catch {
    // A user without an entry in the account database.
    return named;
  }
}

/** A policy that is present and can't be looked at is one that can't be read, not one that is absent. */
function isPresent(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    return !['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
  }
}

function readPolicy(path: string, workspaceRoot: string): Policy {
  let value: unknown;
  try {
    const from = relative(realpathSync(workspaceRoot), realpathSync(path));
    if (from !== '..' && !from.startsWith(`..${sep}`)) throw new Error('it is inside the workspace that it restricts');
    const text = readText(path);
    value = JSON.parse(text);
    // The last one would count: a rule that a reader sees may be one that does not hold.
    const repeated = repeatedKey(text);
    if (repeated)
      throw new Error(`it has the key "${sanitizeForTerminal(repeated.key)}" twice, again in line ${repeated.line}`);
  } catch (error) {
    throw new Problem('POLICY', `The policy ${path} can't be used: ${(error as Error).message}.`);
  }
  const result = policySchema.safeParse(value);
  if (!result.success) throw new Problem('POLICY', `The policy ${path} is not valid: ${z.prettifyError(result.error)}`);
  return { path, ...result.data };
}
