import { createHash, randomBytes } from 'node:crypto';
import type { Check } from '../command/plan';
import { callerArn } from '../instance/caller';
import { diagnoseDescription } from '../instance/diagnose-description';
import { isThere } from '../instance/made';
import { preflightChecks } from '../instance/preflight';
import { Aws } from '../aws/clients';
import { grantLines } from '../aws/permissions/grant';
import type { Where } from '../aws/permissions/statement';
import { workspaceIdentity } from '../workspace/identity';
import { StoreKeys } from '../store/keys';
import { checkServer } from '../store/check-server';
import { postForm } from '../store/post-form';
import { secretParameter } from '../store/store-secret';
import { Store } from '../store/store';
import type { Configuration } from '../config/configuration';
import { describeEnvironment, detectEnvironment, environmentFiles } from '../config/environment';
import { instanceEndpoints, storeAccess } from './access';
import { checkSession } from './check-session';
import { withGrant } from './with-grant';
import { openSession, type Session } from './session';
import type { Denied, Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';

export interface Finding extends Check {
  where: 'here' | 'instance';
}

/** Whether callers may read, or create, the secret of the store: otherwise only this machine verifies what it starts. */
const SIGNING = "sign runs' records";

/** A booting instance is waited for this long by the doctor, ms. */
const WAIT = 15_000;

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
    const { wait } = configuration.instance;
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
      wait: Math.min(wait, WAIT),
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
      findings.push(...asked.map((check): Finding => ({ where: 'here', ...withGrant(check, where) })));
    }
    if (isBlocked()) return findings;

    const id = randomBytes(8).toString('hex');
    const probe = { key: keys.probe(id), body: randomBytes(64) };
    let doing = 'write to the bucket';
    try {
      await store.put(probe.key, probe.body);
      add(doing, true, `s3://${store.bucket}/${probe.key}`);
      doing = 'read from the bucket';
      const back = await store.getVersion(probe.key, probe.body.length, { strict: true });
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
    const tests = `${keys.out(`doctor-${id}`)}server/`;
    const server = await checkServer(store, tests, {
      launches: 'described' in instance,
      postForm: (post, fields, body) => postForm(aws, post, fields, body),
    });
    findings.push(...server.checks.map((check): Finding => ({ where: 'here', ...check })));
    await store.delete(server.keys).catch((problem: Problem) => addFailure('delete from the bucket', problem));
    let session: Session;
    try {
      session = await openSession(configuration, project, workspaceRoot, reporter);
    } catch (error) {
      await store.delete([probe.key]).catch((problem: Problem) => addFailure('delete from the bucket', problem));
      if ((error as Problem).code !== 'INSTANCE_MISSING') throw error;
      add('instance', null, (error as Problem).what, (error as Problem).next);
      return findings;
    }
    const uploaded = `${keys.out(`doctor-${id}`)}probe`;
    const run = `doctor-${id}`;
    try {
      const { checks: remote } = await session.remote.send<{ checks: Check[] }>(
        {
          op: 'doctor',
          probe: {
            get: await store.presignGet(probe.key),
            sha256: createHash('sha256').update(probe.body).digest('hex'),
            post: await store.presignPost(keys.out(`doctor-${id}`)),
            key: uploaded,
          },
          store: await storeAccess(session, run, false),
          secret: {
            parameter: secretParameter(configuration.bucket, configuration.prefix),
            endpoint: instanceEndpoints().ssm,
          },
          environment,
        },
        { comment: 'nx-ec2: doctor', signal },
      );
      add('run a command by SSM', true, `as ${await callerArn(aws)}`);
      findings.push(...remote.map((check): Finding => ({ where: 'instance', ...withGrant(check, where) })));
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
    return findings.some(({ ok, name }) => ok === false && name !== 'environment');
  }

  /** What the instance needs for the project's environment; null where that can't be told. */
  function environmentOf({ projectRoot, declaredEnvironment: choice, train }: Configuration, workspaceRoot: string) {
    try {
      const paths = environmentFiles({ workspaceRoot, projectRoot, choice });
      const found = detectEnvironment({ workspaceRoot, projectRoot, choice, paths });
      const { manager } = found.environment;
      add('environment', manager === 'none' ? null : true, describeEnvironment(found).replace(/^Environment: /, ''));
      return { manager, installer: train.installer, ownIndex: train.index !== undefined };
    } catch (error) {
      addFailure('environment', error as Problem);
      return null;
    }
  }

  function addFailure(name: string, problem: Problem, ok: false | null = false): void {
    const [what, ...rest] = problem.message.split('\n');
    const aws = problem.aws ? `${what} ${problem.aws.code}: ${problem.aws.message}` : what;
    add(name, ok, aws, fixes(problem.next ?? (rest.join(' ') || null), problem.aws?.denied));
  }

  /** What to do, with the statements to add where a permission is missing: a line each. */
  function fixes(fix: string | null, denied: Denied | undefined): string | null {
    return denied ? [fix, ...grantLines(denied, where)].filter((line) => line !== null).join('\n') : fix;
  }
}

/** What the caller's ARN says of the account; nothing where it is not to be had. */
async function account(aws: Aws): Promise<Pick<Where, 'partition' | 'account'>> {
  const [, partition, , , account] = (await callerArn(aws).catch(() => '')).split(':');
  return account ? { partition, account } : {};
}
