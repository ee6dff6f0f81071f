import { randomUUID } from 'node:crypto';
import { ACCOUNT, allow, type Identity } from '../protocol/identity';
import type { Instances } from '../instance/instances';
import { answerJson, jsonError, type Json } from '../protocol/json-protocol';
import { Sessions, type SessionOptions } from '../session/sessions';
import type { SessionUser } from '../session/user';
import type { Service, ServiceRequest, ServiceResponse } from '../protocol/service';
import { Agent } from './agent';
import type { Invocation } from './invocation';
import type { Parameters } from './parameters';
import { resolveReferences } from './references';
import { AwsError } from '../protocol/aws-error';

const MAX_DOCUMENT_BYTES = 64 * 1024;

export interface SsmOptions {
  instances: Instances;
  region: string;
  parameters: Parameters;
  /** Whose permissions an instance's agent has. */
  identityOf: (instance: string) => Identity | null;
  pickUp?: number;
  sessions?: SessionOptions;
  /** As whom sessions run; absent: as the user of this process. */
  sessionUser?: SessionUser;
}

/** Run Command, Session Manager and what goes with them: JSON 1.1. */
export class SsmService implements Service {
  private readonly agent: Agent;
  readonly invocations: Invocation[] = [];
  readonly sessions: Sessions;
  private readonly actions: Record<string, (input: Json, identity: Identity) => Json>;
  private readonly onTheWay = new Set<NodeJS.Timeout>();

  /** From a command being sent to its script's start, ms. */
  pickUp: number;
  /** The role of the Default Host Management Configuration; null: it is off. */
  hostManagementRole: string | null = null;
  private readonly instances: Instances;

  constructor(private readonly options: SsmOptions) {
    const { instances, region, parameters, pickUp = 0, sessions = {}, sessionUser } = options;
    this.instances = instances;
    this.pickUp = pickUp;
    this.agent = new Agent(instances, region, (invocation) => {
      const resolved = this.resolve(invocation.instance, invocation.parameters);
      if (resolved) Object.assign(invocation, scriptOf(resolved));
      return resolved !== null;
    });
    this.sessions = new Sessions({
      instances,
      options: sessions,
      user: sessionUser,
      pickUp: () => this.pickUp,
      resolve: (instance, given) => this.resolve(instance, given),
    });
    this.actions = {
      ...parameters.actions,
      ...this.sessions.actions,
      SendCommand: (input) => this.sendCommand(input),
      GetCommandInvocation: (input) => this.getInvocation(input),
      ListCommandInvocations: (input) => this.listInvocations(input),
      CancelCommand: (input) => this.cancel(input),
      DescribeInstanceInformation: (input) => this.describe(input),
      GetServiceSetting: (input) => this.getServiceSetting(input),
      GetConnectionStatus: (input) => ({
        Target: input.Target,
        Status: this.instances.takesSessions(String(input.Target)) ? 'connected' : 'notconnected',
      }),
    };
  }

  /** As the real one: what Run Command has started lives on, sessions end. */
  restartAgent(instance: string): void {
    this.sessions.restartAgent(instance);
  }

  /** Commands that are on their way never arrive. */
  close(): void {
    this.sessions.close();
    this.agent.close();
    for (const timer of this.onTheWay) clearTimeout(timer);
  }

  error(error: AwsError, requestId: string): ServiceResponse {
    return jsonError(error, requestId);
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    return answerJson(this.actions, request);
  }

  private getServiceSetting({ SettingId }: Json): Json {
    if (SettingId !== '/ssm/managed-instance/default-ec2-instance-management-role')
      throw new AwsError('ServiceSettingNotFound', `Local AWS has no setting ${String(SettingId)}.`);
    return { ServiceSetting: { SettingId, SettingValue: this.hostManagementRole ?? '$None', Status: 'Customized' } };
  }

  private sendCommand(input: Json): Json {
    if (input.DocumentName !== 'AWS-RunShellScript')
      throw new AwsError(
        'InvalidDocument',
        `Local AWS has AWS-RunShellScript only, not ${String(input.DocumentName)}.`,
      );
    if (input.OutputS3BucketName) throw new AwsError('ValidationException', 'Local AWS does not write output to S3.');
    const parameters = (input.Parameters ?? {}) as Record<string, string[]>;
    if (Buffer.byteLength(JSON.stringify(parameters)) > MAX_DOCUMENT_BYTES)
      throw new AwsError('MaxDocumentSizeExceeded', 'The size limit of a document is 64 KB.');
    const timeout = input.TimeoutSeconds as number | undefined;
    if (timeout !== undefined && !(timeout >= 30 && timeout <= 2_592_000))
      throw new AwsError(
        'ValidationException',
        "Value at 'timeoutSeconds' failed to satisfy constraint: Member must be between 30 and 2592000",
      );
    const ids = this.targets(input);
    const offline = ids.filter((id) => !this.instances.online(id));
    if (offline.length || !ids.length)
      throw new AwsError(
        'InvalidInstanceId',
        `Instances [[${offline.join(', ')}]] not in a valid state for account ${ACCOUNT}`,
      );
    const commandId = randomUUID();
    for (const instance of ids) {
      const invocation: Invocation = {
        commandId,
        instance,
        comment: String(input.Comment ?? ''),
        parameters,
        ...scriptOf(parameters),
        status: 'Pending',
        details: 'Pending',
        code: -1,
        stdout: '',
        stderr: '',
        requested: Date.now(),
        deliveryTimeout: timeout ?? 3600,
      };
      this.invocations.push(invocation);
      this.deliver(invocation);
    }
    return {
      Command: {
        CommandId: commandId,
        DocumentName: input.DocumentName,
        InstanceIds: ids,
        Status: 'Pending',
        StatusDetails: 'Pending',
        Comment: input.Comment ?? '',
        RequestedDateTime: Date.now() / 1000,
      },
    };
  }

  private deliver(invocation: Invocation): void {
    const timer = setTimeout(() => {
      this.onTheWay.delete(timer);
      // One that was cancelled on its way never starts.
      if (invocation.ended === undefined) this.agent.take(invocation);
    }, this.pickUp);
    this.onTheWay.add(timer);
  }

  /** By the agent, with what the instance's role may read; null where it fails the document for that. */
  private resolve(instance: string, parameters: Record<string, string[]>): Record<string, string[]> | null {
    const identity = this.options.identityOf(instance);
    try {
      return resolveReferences(parameters, (names) => {
        if (!identity) throw new AwsError('AccessDeniedException', `${instance} has no role.`);
        allow(identity, 'ssm:GetParameters');
        return this.options.parameters.read(names, identity);
      });
    } catch (error) {
      if (error instanceof AwsError) return null;
      throw error;
    }
  }

  private targets(input: Json): string[] {
    if (input.InstanceIds) return input.InstanceIds as string[];
    const targets = (input.Targets ?? []) as { Key: string; Values: string[] }[];
    return this.instances
      .all()
      .filter(
        ({ tags, id }) =>
          this.instances.online(id) &&
          targets.length > 0 &&
          targets.every(({ Key, Values }) =>
            Key === 'InstanceIds' ? Values.includes(id) : Values.includes(tags[Key.replace(/^tag:/, '')]),
          ),
      )
      .map(({ id }) => id);
  }

  private getInvocation(input: Json): Json {
    const found = this.invocations.find(
      ({ commandId, instance }) => commandId === input.CommandId && instance === input.InstanceId,
    );
    if (found) this.agent.expire(found);
    if (!found)
      throw new AwsError(
        'InvocationDoesNotExist',
        'The command ID and managed node ID you specified did not match any invocations.',
      );
    return {
      CommandId: found.commandId,
      InstanceId: found.instance,
      Comment: found.comment,
      DocumentName: 'AWS-RunShellScript',
      PluginName: 'aws:runShellScript',
      ResponseCode: found.code,
      Status: found.status,
      StatusDetails: found.details,
      ...executionTimes(found),
      StandardOutputContent: found.stdout,
      StandardErrorContent: found.stderr,
      StandardOutputUrl: '',
      StandardErrorUrl: '',
    };
  }

  private listInvocations(input: Json): Json {
    const found = this.invocations.filter(
      ({ commandId, instance }) =>
        (!input.CommandId || commandId === input.CommandId) && (!input.InstanceId || instance === input.InstanceId),
    );
    for (const each of found) this.agent.expire(each);
    return {
      CommandInvocations: found.map((each) => ({
        CommandId: each.commandId,
        InstanceId: each.instance,
        Comment: each.comment,
        DocumentName: 'AWS-RunShellScript',
        Status: each.status,
        StatusDetails: each.details,
        RequestedDateTime: each.requested / 1000,
        ...(input.Details
          ? {
              CommandPlugins: [
                {
                  Name: 'aws:runShellScript',
                  Status: each.status,
                  ResponseCode: each.code,
                  Output: each.stdout.slice(0, 2500),
                },
              ],
            }
          : {}),
      })),
    };
  }

  private cancel(input: Json): Json {
    for (const invocation of this.invocations)
      if (invocation.commandId === input.CommandId) this.agent.cancel(invocation);
    return {};
  }

  private describe(input: Json): Json {
    const filters = (input.Filters ?? []) as { Key: string; Values: string[] }[];
    const wanted = filters.find(({ Key }) => Key === 'InstanceIds')?.Values;
    const list = this.instances
      .all()
      .filter(({ id }) => this.instances.online(id) && (!wanted || wanted.includes(id)))
      .map(({ id, privateIp }) => ({
        InstanceId: id,
        IPAddress: privateIp,
        PingStatus: 'Online',
        AgentVersion: '3.3.0.0',
        PlatformType: 'Linux',
        PlatformName: process.platform,
        PlatformVersion: '0',
        ResourceType: 'EC2Instance',
        LastPingDateTime: Date.now() / 1000,
      }));
    return { InstanceInformationList: list };
  }
}

/** What AWS-RunShellScript makes of its parameters. */
function scriptOf({ commands = [], workingDirectory = [], executionTimeout = [] }: Record<string, string[]>) {
  const seconds = Number(executionTimeout[0] ?? 3600);
  return {
    script: commands.join('\n'),
    workingDirectory: workingDirectory[0] ?? '',
    executionTimeout: seconds >= 5 && seconds <= 172_800 ? seconds : 3600,
  };
}

/** As GetCommandInvocation words them: ISO 8601, empty before the start or the end. */
function executionTimes({ started, ended }: Invocation): Json {
  const text = (time?: number) => (time === undefined ? '' : new Date(time).toISOString());
  return {
    ExecutionStartDateTime: text(started),
    ExecutionEndDateTime: started === undefined ? '' : text(ended),
    ExecutionElapsedTime: started !== undefined && ended !== undefined ? `PT${(ended - started) / 1000}S` : '',
  };
}
