import { createHash, randomBytes } from 'node:crypto';
import type { Check } from '../command/plan';
import { callerArn } from '../instance/describe/caller';
import { diagnoseDescription } from './check-launch';
import { isThere } from '../instance/describe/ownership';
import { preflightChecks } from '../instance/ready/preflight';
import { Aws } from '../aws/clients';
import { policyLines } from '../aws/permissions/grant';
import type { Where } from '../aws/permissions/statement';
import { workspaceIdentity } from '../workspace/identity';
import { StoreKeys } from '../store/keys';
import { checkServer } from './check-server';
import { postForm } from '../store/post-form';
import { secretParameter } from '../store/store-secret';
import { Store } from '../store/store';
import { describeEnvironment, detectEnvironment, environmentFiles } from '../config/environment';
import { instanceEndpoints, storeAccess } from '../context/store-access';
import { assertVolume } from '../project/assert-ready';
import { environmentNeeds, isConfidential, environmentTool, type EnvironmentNeeds } from '../project/environment-needs';
import { checkSession } from './check-session';
import { addMissingPermission } from './add-missing-permission';
import { createInstanceContext } from '../context/context';
import { withOrigins } from '../config/setting-origins';
import type { Denied, Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';
import type { Configuration } from '../config/types';
import type { Session } from '../context/types';

export interface Finding extends Check {
  where: 'here' | 'instance';
}

/** Whether callers may read, or create, the secret of the store: otherwise only this machine verifies what it starts. */
const SIGNING = "sign runs' records";

/** Whether the volume of an instance to be launched holds the environment. */
const VOLUME = 'volume';

/** A booting instance is waited for this long by the doctor, ms. */
const BOOT_TIMEOUT_MS = 15_000;

/**
 * Checks everything that the other commands rely on: first from here, then, where the instance can be reached, from
 * the instance itself. Never throws for what it finds.
 */
export async function diagnose(
  configuration: Configuration,
  project: string,
  workspaceRoot: string,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const add = (name: string, ok: boolean | null, detail: string, fix: string | null = null) =>
    findings.push({ where: 'here', name, ok, detail, fix });
  const aws = new Aws(configuration);
  const where: Where = { bucket: configuration.bucket, prefix: configuration.prefix };
  try {
    const store = new Store(aws, configuration);
    const keys = new StoreKeys(configuration.prefix, project);
    const { startupTimeout: wait } = configuration.instance;
    try {
      add('region', true, (where.region = await aws.region()));
    } catch (error) {
      addFailure('region', error as Problem);
      return findings;
    }
    const environment = environmentOf(configuration, workspaceRoot);
    const checks = preflightChecks({
      aws,
      store,
      instances: configuration.instances.filter(isThere),
      wait: Math.min(wait, BOOT_TIMEOUT_MS),
      onWait: (what) => reporter.line(what),
      signal,
    });
    const results = await Promise.allSettled(checks.map((check) => check.run()));
    Object.assign(where, await account(aws));
    results.forEach((result, index) => {
      if (result.status === 'fulfilled') add(checks[index].name, true, result.value);
      else addFailure(checks[index].name, result.reason as Problem);
    });
    const { instance, pricePerHour } = configuration;
    if ('described' in instance && !isBlocked()) {
      const owner = { workspace: workspaceIdentity(workspaceRoot), project, caller: await callerArn(aws) };
      const purpose = { owner, store: `${configuration.bucket}/${configuration.prefix}` };
      const asked = await diagnoseDescription(aws, instance.described, purpose, pricePerHour, signal);
      findings.push(...asked.map((check): Finding => ({ where: 'here', ...addMissingPermission(check, where) })));
    }
    if (isBlocked()) return findings;

    const id = randomBytes(8).toString('hex');
    const probe = { key: keys.probe(id), body: randomBytes(64) };
    let doing = 'write to the bucket';
    try {
      await store.put(probe.key, probe.body);
      add(doing, true, `s3://${store.bucket}/${probe.key}`);
      doing = 'read from the bucket';
      const back = await store.getWithETag(probe.key, probe.body.length, { strict: true });
      add(doing, back?.bytes.equals(probe.body) ?? false, 'what was written came back');
    } catch (error) {
      addFailure(doing, error as Problem);
      return findings;
    }
    try {
      add(SIGNING, true, `the secret of the store is the parameter ${await store.recordKeys.check(keys)}`);
    } catch (error) {
      addFailure(SIGNING, error as Problem, null);
    }
    const tests = `${keys.doctor(id)}server/`;
    const server = await checkServer(store, tests, {
      launches: 'described' in instance,
      postForm: (post, fields, body) => postForm(aws, post, fields, body),
    });
    findings.push(...server.checks.map((check): Finding => ({ where: 'here', ...check })));
    await store.delete(server.keys).catch((problem: Problem) => addFailure('delete from the bucket', problem));
    let session: Session;
    try {
      session = await createInstanceContext(configuration, project, workspaceRoot, reporter);
    } catch (error) {
      await store.delete([probe.key]).catch((problem: Problem) => addFailure('delete from the bucket', problem));
      if ((error as Problem).code !== 'INSTANCE_MISSING') throw error;
      add('instance', null, (error as Problem).what, (error as Problem).next);
      return findings;
    }
    const uploaded = `${keys.doctor(id)}probe`;
    const run = `doctor-${id}`;
    try {
      const { checks: remote } = await session.remote.send<{ checks: Check[] }>(
        {
          op: 'doctor',
          probe: {
            get: await store.presignGet(probe.key),
            sha256: createHash('sha256').update(probe.body).digest('hex'),
            post: await store.presignPost(keys.doctor(id)),
            objectKey: uploaded,
          },
          store: await storeAccess(session, run, false),
          secret: {
            parameter: secretParameter(configuration.bucket, configuration.prefix),
            endpoint: instanceEndpoints().ssm,
          },
          environment,
        },
        { comment: 'nx-ec2: doctor', confidential: environment !== null && isConfidential(environment), signal },
      );
      add('run a command by SSM', true, `as ${await callerArn(aws)}`);
      findings.push(...remote.map((check): Finding => ({ where: 'instance', ...addMissingPermission(check, where) })));
      const opened = await checkSession(aws, session.instance, signal);
      findings.push({ where: 'here', ...opened.check, fix: fixes(opened.check.fix, opened.denied) });
    } catch (error) {
      addFailure('run a command by SSM', error as Problem);
    } finally {
      session.close();
      const left = [probe.key, uploaded, `${keys.run(run)}probe`];
      await store.delete(left).catch((error: Problem) => addFailure('delete from the bucket', error));
    }
    return findings;
  } finally {
    aws.close();
  }

  /** Whether something failed that the other checks rely on. */
  function isBlocked(): boolean {
    return findings.some(({ ok, name }) => ok === false && name !== 'environment' && name !== VOLUME);
  }

  /** What the instance needs for the project's environment; null where that can't be told. */
  function environmentOf({ projectRoot, declaredEnvironment: choice, train }: Configuration, workspaceRoot: string) {
    try {
      const paths = environmentFiles({ workspaceRoot, projectRoot, choice });
      const found = detectEnvironment({ workspaceRoot, projectRoot, choice, paths });
      const { manager } = found.environment;
      add('environment', manager === 'none' ? null : true, describeEnvironment(found).replace(/^Environment: /, ''));
      checkVolume(environmentNeeds(found, train, workspaceRoot));
      return environmentTool(found, train, workspaceRoot);
    } catch (error) {
      addFailure('environment', error as Problem);
      return null;
    }
  }

  /** Whether the volume of an instance that is launched holds the environment, where its lock file tells. */
  function checkVolume(needs: EnvironmentNeeds | null): void {
    const { instance } = configuration;
    if (!needs?.download || !('described' in instance)) return;
    const warnings: string[] = [];
    try {
      assertVolume(instance.described, needs, { warn: (text) => void warnings.push(text) });
      add(VOLUME, warnings.length ? null : true, warnings[0] ?? 'it holds the environment of uv.lock');
    } catch (error) {
      addFailure(VOLUME, error as Problem);
    }
  }

  function addFailure(name: string, failure: Problem, ok: false | null = false): void {
    const problem = withOrigins(failure, configuration.sources ?? []);
    const [what, ...rest] = problem.message.split('\n');
    const aws = problem.aws ? `${what} ${problem.aws.code}: ${problem.aws.message}` : what;
    add(name, ok, aws, fixes(problem.next ?? (rest.join(' ') || null), problem.aws?.denied));
  }

  /** What to do, with the statements to add where a permission is missing: a line each. */
  function fixes(fix: string | null, denied: Denied | undefined): string | null {
    return denied ? [fix, ...policyLines(denied, where)].filter((line) => line !== null).join('\n') : fix;
  }
}

/** What the caller's ARN says of the account; nothing where it is not to be had. */
async function account(aws: Aws): Promise<Pick<Where, 'partition' | 'account'>> {
  const [, partition, , , account] = (await callerArn(aws).catch(() => '')).split(':');
  return account ? { partition, account } : {};
}
