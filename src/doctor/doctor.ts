import { createHash, randomBytes } from 'node:crypto';
import { Aws } from '../aws/clients';
import type { Where } from '../aws/permissions/statement';
import type { Check } from '../command/plan';
import type { NamedInstance } from '../config/schema/instance-name';
import type { Configuration } from '../config/settings/types';
import { createInstanceContext } from '../context/context';
import { ownerOf } from '../context/required-tags';
import { instanceEndpoints, storeAccess } from '../context/store-access';
import type { InstanceContext } from '../context/types';
import { callerArn } from '../instance/describe/caller';
import { isNamedInstance } from '../instance/describe/ownership';
import { assertTogether, chooseNodes } from '../instance/launch/existing-nodes';
import { preflightChecks } from '../instance/ready/preflight';
import { isConfidential, type environmentTool } from '../project/environment-needs';
import type { Problem } from '../report/problem';
import type { Printer } from '../report/printer';
import { StoreKeys } from '../store/keys';
import { postForm } from '../store/objects/post-form';
import { secretParameter } from '../store/store-secret';
import { Store } from '../store/store';
import { checkEnvironment } from './check-environment';
import { checkLaunch } from './check-launch';
import { checkServer } from './check-server';
import { checkSession } from './check-session';
import { Findings, type Finding } from './findings';

/** Whether callers may read, or create, the secret of the store: otherwise only this machine verifies what it starts. */
const SIGNING = "sign runs' records";

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
  printer: Printer,
  signal?: AbortSignal,
): Promise<Finding[]> {
  const aws = new Aws(configuration);
  try {
    const doctor = new Doctor(aws, { configuration, project, workspaceRoot, printer, signal });
    await doctor.examine();
    return doctor.findings.all;
  } finally {
    aws.close();
  }
}

interface DoctorOptions {
  configuration: Configuration;
  project: string;
  workspaceRoot: string;
  printer: Printer;
  signal?: AbortSignal;
}

/** What was written to the bucket, for the instance to read. */
interface Probe {
  key: string;
  body: Buffer;
}

class Doctor {
  readonly findings: Findings;
  private readonly store: Store;
  private readonly keys: StoreKeys;
  /** Tells the objects of this examination from others'. */
  private readonly id = randomBytes(8).toString('hex');

  constructor(
    private readonly aws: Aws,
    private readonly options: DoctorOptions,
  ) {
    const { configuration, project } = options;
    this.findings = new Findings(configuration);
    this.store = new Store(aws, configuration);
    this.keys = new StoreKeys(configuration.prefix, project);
  }

  /** The steps, each as far as those before it allow. */
  async examine(): Promise<void> {
    const { configuration, workspaceRoot } = this.options;
    if (!(await this.checkRegion())) return;
    const environment = checkEnvironment(this.findings, configuration, workspaceRoot);
    await this.checkAccess();
    if (!this.findings.isBlocked) await this.checkLaunch();
    if (this.findings.isBlocked) return;
    const probe = await this.checkBucket();
    if (!probe) return;
    await this.checkSecret();
    await this.checkServer();
    await this.checkInstance(probe, environment);
  }

  private async checkRegion(): Promise<boolean> {
    try {
      const region = await this.aws.region();
      this.findings.resources.region = region;
      this.findings.add('region', true, region);
      return true;
    } catch (error) {
      this.findings.addFailure('region', error as Problem);
      return false;
    }
  }

  /** What every command asks for before it sends anything. */
  private async checkAccess(): Promise<void> {
    const { configuration, printer, signal } = this.options;
    const checks = preflightChecks({
      aws: this.aws,
      store: this.store,
      instances: configuration.instances.filter(isNamedInstance),
      wait: Math.min(configuration.instance.startupTimeout, BOOT_TIMEOUT_MS),
      onWait: (what) => printer.line(what),
      signal,
    });
    const results = await Promise.allSettled(checks.map((check) => check.run()));
    Object.assign(this.findings.resources, await account(this.aws));
    results.forEach((result, index) => {
      if (result.status === 'fulfilled') this.findings.add(checks[index].name, true, result.value);
      else this.findings.addFailure(checks[index].name, result.reason as Problem);
    });
  }

  /** Whether the instance of the configuration can be launched, where it is to be. */
  private async checkLaunch(): Promise<void> {
    const { configuration, project, workspaceRoot, signal } = this.options;
    const { instance, pricePerHour, bucket, prefix, train } = configuration;
    if (!('launchSpec' in instance)) return this.checkNodes();
    const owner = ownerOf(configuration, { workspaceRoot, project, caller: await callerArn(this.aws) });
    const purpose = { owner, store: `${bucket}/${prefix}`, count: train.nodes };
    const checks = await checkLaunch(this.aws, instance.launchSpec, purpose, pricePerHour, signal);
    this.findings.addChecks('here', checks);
  }

  /** Whether the instances that are named can be the nodes of a run, where they are to be. */
  private async checkNodes(): Promise<void> {
    const { configuration, printer, signal } = this.options;
    const { nodes, launcher } = configuration.train;
    if (nodes === 1) return;
    try {
      const found = await chooseNodes(this.aws, configuration.instances as NamedInstance[], nodes);
      await assertTogether(this.aws, found, { isByGpu: launcher?.processes === 'gpu', printer, signal });
      this.findings.add('nodes', true, found.map(({ id }) => id).join(', '));
    } catch (error) {
      this.findings.addFailure('nodes', error as Problem);
    }
  }

  /** Writes an object and reads it back. @returns null where that failed. */
  private async checkBucket(): Promise<Probe | null> {
    const probe = { key: this.keys.probe(this.id), body: randomBytes(64) };
    let doing = 'write to the bucket';
    try {
      await this.store.put(probe.key, probe.body);
      this.findings.add(doing, true, `s3://${this.store.bucket}/${probe.key}`);
      doing = 'read from the bucket';
      const back = await this.store.getWithETag(probe.key, probe.body.length, { strict: true });
      this.findings.add(doing, back?.bytes.equals(probe.body) ?? false, 'what was written came back');
      return probe;
    } catch (error) {
      this.findings.addFailure(doing, error as Problem);
      return null;
    }
  }

  private async checkSecret(): Promise<void> {
    try {
      const parameter = await this.store.signingKeys.check(this.keys);
      this.findings.add(SIGNING, true, `the secret of the store is the parameter ${parameter}`);
    } catch (error) {
      this.findings.addFailure(SIGNING, error as Problem, null);
    }
  }

  /** What the S3 server can do. */
  private async checkServer(): Promise<void> {
    const server = await checkServer(this.store, `${this.keys.doctor(this.id)}server/`, {
      launches: 'launchSpec' in this.options.configuration.instance,
      postForm: (post, fields, body) => postForm(this.aws, post, fields, body),
    });
    this.findings.all.push(...server.checks.map((check): Finding => ({ where: 'here', ...check })));
    await this.delete(server.keys);
  }

  /** Has the instance examine itself, and opens a session of Session Manager. */
  private async checkInstance(probe: Probe, environment: ReturnType<typeof environmentTool> | null): Promise<void> {
    const { configuration, project, workspaceRoot, printer, signal } = this.options;
    const { findings, store, keys } = this;
    let context: InstanceContext;
    try {
      context = await createInstanceContext(configuration, project, workspaceRoot, printer);
    } catch (error) {
      await this.delete([probe.key]);
      const { code } = error as Problem;
      // Of several members of a pool, none is meant.
      const isPool = code === 'INSTANCE_AMBIGUOUS' && 'launchSpec' in configuration.instance;
      if (code !== 'INSTANCE_MISSING' && !isPool) throw error;
      findings.add('instance', null, (error as Problem).what, (error as Problem).next);
      return;
    }
    const uploaded = `${keys.doctor(this.id)}probe`;
    const run = `doctor-${this.id}`;
    try {
      const { checks } = await context.remote.send<{ checks: Check[] }>(
        {
          op: 'doctor',
          probe: {
            get: await store.presignGet(probe.key),
            sha256: createHash('sha256').update(probe.body).digest('hex'),
            post: await store.presignPost(keys.doctor(this.id)),
            objectKey: uploaded,
          },
          store: await storeAccess(context, context.keys.run(run), false),
          secret: {
            parameter: secretParameter(configuration.bucket, configuration.prefix),
            endpoint: instanceEndpoints().ssm,
          },
          environment,
        },
        { comment: 'nx-ec2: doctor', confidential: environment !== null && isConfidential(environment), signal },
      );
      findings.add('run a command by SSM', true, `as ${await callerArn(this.aws)}`);
      findings.addChecks('instance', checks);
      const opened = await checkSession(this.aws, context.instance, signal);
      findings.all.push({ where: 'here', ...opened.check, fix: findings.fix(opened.check.fix, opened.denied) });
    } catch (error) {
      findings.addFailure('run a command by SSM', error as Problem);
    } finally {
      context.close();
      await this.delete([probe.key, uploaded, `${keys.run(run)}probe`]);
    }
  }

  private async delete(keys: string[]): Promise<void> {
    await this.store
      .delete(keys)
      .catch((problem: Problem) => this.findings.addFailure('delete from the bucket', problem));
  }
}

/** What the caller's ARN says of the account; empty if the ARN can't be read. */
async function account(aws: Aws): Promise<Pick<Where, 'partition' | 'account'>> {
  const [, partition, , , account] = (await callerArn(aws).catch(() => '')).split(':');
  return account ? { partition, account } : {};
}
