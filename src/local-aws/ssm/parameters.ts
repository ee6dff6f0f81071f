import { imageParameter } from '../catalog/images';
import { ACCOUNT, type Identity } from '../protocol/identity';
import type { Json } from '../protocol/json-protocol';
import { KeptJson } from '../state/kept-json';
import { AwsError } from '../protocol/aws-error';

interface Version {
  Type: string;
  Value: string;
  Version: number;
  LastModifiedDate: number;
}

interface Parameter extends Version {
  Name: string;
  /** Which version was asked for, e.g. `:3`. */
  Selector?: string;
}

/** As it is kept: the latest version, and those before it. */
interface KeptParameter extends Parameter {
  Earlier?: Version[];
}

/** So many versions are kept of a parameter. */
const MAX_VERSIONS = 100;

/** What a SecureString is to whoever does not ask for it decrypted. */
const SEALED = 'AQICAHhsealed';

/** AWS's own parameters, which no account has. */
const PUBLIC = '/aws/service/';

/** What the role of aws-setup may not read. */
const CALLERS = /(^|parameter)\/nx-ec2-callers\//;
/** As documented for names: with the ARN it is 1,011 characters at most. */
const MAX_NAME_LENGTH = 948;
const MAX_LEVELS = 15;
const NAME_RULE =
  'Parameter name must be a fully qualified name. It can only include the following symbols and letters: a-zA-Z0-9_.-/';

/** The Parameter Store: String and SecureString, and the public parameters that name images. */
export class Parameters {
  private readonly kept: KeptJson<KeptParameter>;
  readonly actions: Record<string, (input: Json, identity: Identity) => Json>;

  constructor(
    file: string,
    private readonly region: string,
  ) {
    this.kept = new KeptJson(file);
    this.actions = {
      PutParameter: (input) => this.put(input),
      DeleteParameter: (input) => {
        if (!this.kept.get(String(input.Name))) throw new AwsError('ParameterNotFound', '');
        this.kept.delete(String(input.Name));
        return {};
      },
      GetParameter: (input, identity) => {
        const name = String(input.Name);
        assertNoInstances([name], identity, 'GetParameter');
        const found = this.find(name);
        if (!found && this.find(selected(name).name))
          throw new AwsError(
            'ParameterVersionNotFound',
            `Systems Manager could not find version ${selected(name).version} of ${selected(name).name}. Verify the version and try again.`,
          );
        if (!found) throw new AwsError('ParameterNotFound', `Parameter ${name} not found.`);
        return { Parameter: this.shown(found, input) };
      },
      GetParameters: (input, identity) => {
        const names = input.Names as string[];
        if (names.length > 10)
          throw new AwsError('ValidationException', 'Member must have length less than or equal to 10');
        return {
          Parameters: this.read(names, identity).map((each) => this.shown(each, input)),
          InvalidParameters: names.filter((name) => !this.find(name)),
        };
      },
    };
  }

  /** Those of these names that exist. @throws AwsError where the identity may not read one. */
  read(names: string[], identity: Identity | null): Parameter[] {
    assertNoInstances(names, identity, 'GetParameters');
    return names.flatMap((name) => this.find(name) ?? []);
  }

  private put(input: Json): Json {
    const [Name, Type, Value] = [String(input.Name), String(input.Type ?? 'String'), String(input.Value)];
    const before = this.kept.get(Name);
    if (before && !input.Overwrite)
      throw new AwsError(
        'ParameterAlreadyExists',
        'The parameter already exists. To overwrite this value, set the overwrite option in the request to true.',
      );
    if (/^\/?(aws|ssm)/i.test(Name))
      throw new AwsError(
        'ValidationException',
        'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).',
      );
    if (
      !/^[a-zA-Z0-9._/-]+$/.test(Name) ||
      (Name.includes('/') && !Name.startsWith('/')) ||
      Name.length > MAX_NAME_LENGTH
    )
      throw new AwsError('ValidationException', NAME_RULE);
    if (Name.split('/').length - 1 > MAX_LEVELS)
      throw new AwsError(
        'HierarchyLevelLimitExceededException',
        `A parameter hierarchy can have a maximum of ${MAX_LEVELS} levels.`,
      );
    if (!['String', 'SecureString'].includes(Type))
      throw new AwsError('UnsupportedParameterType', `Local AWS has no parameters of the type ${Type}.`);
    const Version = (before?.Version ?? 0) + 1;
    const { Earlier = [], ...latest } = before ?? {};
    const earlier = before ? [...Earlier, latest as Version].slice(1 - MAX_VERSIONS) : undefined;
    this.kept.set(Name, { Name, Type, Value, Version, LastModifiedDate: Date.now() / 1000, Earlier: earlier });
    return { Version, Tier: 'Standard' };
  }

  /** By its name, or by its ARN, where a name's slash is the ARN's; with a version behind either, that one. */
  private find(reference: string): Parameter | undefined {
    const { name, version } = selected(reference);
    const kept = this.own(name) ?? publicParameter(name);
    if (!kept) return undefined;
    const { Earlier = [], ...latest } = kept;
    if (version === undefined) return latest;
    const found = [latest, ...Earlier].find((each) => each.Version === version);
    return found && { ...found, Name: latest.Name, Selector: `:${version}` };
  }

  private own(name: string): KeptParameter | undefined {
    const path = /^arn:[^:]*:ssm:[^:]*:\d*:parameter\/(.*)$/.exec(name)?.[1];
    return path === undefined ? this.kept.get(name) : (this.kept.get(`/${path}`) ?? this.kept.get(path));
  }

  private shown(parameter: Parameter, { WithDecryption }: Json): Json {
    const sealed = parameter.Type === 'SecureString' && !WithDecryption;
    return {
      ...parameter,
      Value: sealed ? SEALED : parameter.Value,
      ARN: `arn:aws:ssm:${this.region}:${parameter.Name.startsWith(PUBLIC) ? '' : ACCOUNT}:parameter/${parameter.Name.replace(/^\//, '')}`,
      DataType: 'text',
    };
  }
}

/** The version that a reference asks for, apart from its name. */
function selected(reference: string): { name: string; version?: number } {
  const [, name, version] = /^(.+):(\d+)$/.exec(reference) ?? [undefined, reference];
  return { name, version: version === undefined ? undefined : Number(version) };
}

function assertNoInstances(names: string[], identity: Identity | null, action: string): void {
  if (
    identity?.instance === undefined ||
    identity.allow?.includes(`ssm:${action}`) ||
    !names.some((name) => CALLERS.test(name))
  )
    return;
  throw new AwsError(
    'AccessDeniedException',
    `User: ${identity.arn} is not authorized to perform: ssm:${action} because no identity-based policy allows the ssm:${action} action`,
  );
}

function publicParameter(name: string): KeptParameter | undefined {
  const path = /^arn:[^:]*:ssm:[^:]*::parameter(\/.*)$/.exec(name)?.[1] ?? name;
  const Value = imageParameter(path);
  return Value === undefined ? undefined : { Name: path, Type: 'String', Value, Version: 1, LastModifiedDate: 0 };
}
