import { join, resolve } from 'node:path';
import { defaultVpc } from './catalog/network';
import { Ec2Service } from './ec2/service';
import { Identities, INSTANCE_IDENTITY, LOCAL_IDENTITY } from './protocol/identity';
import { Metadata } from './imds/metadata';
import { ActiveKeys } from './instanceconnect/active-keys';
import { InstanceConnectService } from './instanceconnect/service';
import { CloudInit } from './instance/cloud-init';
import { Instances, type LocalInstance } from './instance/instances';
import { Power } from './instance/power';
import { InstanceRole } from './instance/role';
import { PricingService } from './pricing/service';
import { S3Service } from './s3/service';
import { SecretsManagerService } from './secretsmanager/service';
import type { SessionUser } from './session/user';
import { ServiceQuotasService } from './servicequotas/service';
import { Parameters } from './ssm/parameters';
import { SsmService } from './ssm/service';
import { secretAccessKey } from './state/state-directory';
import { StsService } from './sts/service';
import type { LocalAwsOptions } from './types';

const DEFAULT_REGION = 'eu-west-1';

/** What there is in the one region of local AWS: its services, its instances and who may use them. */
export class LocalRegion {
  readonly name: string;
  readonly identities: Identities;
  readonly instances: Instances;
  readonly s3: S3Service;
  readonly ssm: SsmService;
  readonly ec2: Ec2Service;
  readonly quotas: ServiceQuotasService;
  readonly metadata: Metadata;
  private readonly sshKeys: ActiveKeys;
  /** Instances of the options, by Name. */
  readonly named = new Map<string, LocalInstance>();
  private readonly cloudInit: CloudInit;
  private readonly power: Power;
  private readonly roles = new Map<string, InstanceRole>();

  constructor(
    private readonly options: LocalAwsOptions,
    sessionUser: SessionUser | undefined,
  ) {
    const { directory, network, sessions } = options;
    const region = options.region ?? DEFAULT_REGION;
    this.name = region;
    const known = [LOCAL_IDENTITY, INSTANCE_IDENTITY, ...(options.identities ?? [])];
    this.identities = new Identities(secretAccessKey(directory), known);
    const vpc = defaultVpc(region, resolve(directory));
    const instances = new Instances(join(directory, 'instances'), options, vpc);
    instances.channel = options.agentChannel ?? 'gateway';
    this.instances = instances;
    this.cloudInit = new CloudInit(instances);
    this.power = new Power(instances);
    this.s3 = new S3Service(join(directory, 's3'), region, this.identities);
    this.sshKeys = new ActiveKeys(options.sshKeyLifetime);
    this.metadata = new Metadata({
      instances,
      region,
      role: (instance) => this.role(instance),
      power: this.power,
      sshKeys: (instance, user) => this.sshKeys.of(instance, user),
    });
    this.ssm = new SsmService({
      instances,
      region,
      parameters: new Parameters(join(directory, 'parameters.json'), region),
      identityOf: (instance) => (this.role(instance).name === null ? null : this.role(instance).credentials()),
      pickUp: network?.pickUp,
      sessions,
      sessionUser,
    });
    this.ec2 = new Ec2Service(instances, vpc, join(directory, 'ec2'));
    for (const each of options.capacity ?? []) this.ec2.capacity.add(each);
    for (const each of options.interruptions ?? []) this.ec2.interruptions.add(each);
    this.quotas = new ServiceQuotasService(region);
  }

  /** The services of the region, by the name that requests are signed for. */
  createServices() {
    return {
      s3: this.s3,
      ssm: this.ssm,
      ec2: this.ec2,
      sts: new StsService(this.identities),
      secretsmanager: new SecretsManagerService(join(this.options.directory, 'secrets.json'), this.name),
      pricing: new PricingService(this.name),
      servicequotas: this.quotas,
      'ec2-instance-connect': new InstanceConnectService(this.instances, this.sshKeys),
    };
  }

  /** The role of an instance. */
  role(instance: string): InstanceRole {
    const profile = this.instances.get(instance)?.profile ?? null;
    const found = this.roles.get(instance) ?? new InstanceRole(instance, this.identities, profile);
    this.roles.set(instance, found);
    return found;
  }

  /** Makes the buckets and launches the instances of the options that are not there. */
  populate(): void {
    for (const bucket of this.options.buckets ?? []) this.s3.buckets.create(bucket);
    for (const name of this.options.instances ?? []) {
      const running = this.instances.all().find(({ tags, state }) => tags.Name === name && state === 'running');
      this.named.set(name, running ?? this.instances.launch({ tags: { Name: name }, booted: true }));
    }
  }

  /** Local AWS can be reached at a port: what boots continues. */
  listen(port: number): void {
    this.instances.url = `http://127.0.0.1:${port}`;
    this.cloudInit.resume();
    this.ssm.sessions.url = `ws://127.0.0.1:${port}`;
  }

  /** The environment of a program that speaks to local AWS as somebody. */
  environment(accessKeyId: string): Record<string, string> {
    const { secretAccessKey, session } = this.identities.get(accessKeyId)!;
    return {
      AWS_ENDPOINT_URL: this.instances.url,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      ...(session ? { AWS_SESSION_TOKEN: session.token } : {}),
      // boto3 reads the second alone.
      AWS_REGION: this.name,
      AWS_DEFAULT_REGION: this.name,
    };
  }

  closeServices(): void {
    for (const each of [this.cloudInit, this.power, this.ec2]) each.close();
    this.instances.close();
  }
}
