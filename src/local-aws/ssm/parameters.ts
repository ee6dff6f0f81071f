import { imageParameter } from '../ec2/catalogue/images';
import { ACCOUNT, type Identity } from '../identity';
import type { Json } from '../json-protocol';
import { KeptJson } from '../kept-json';
import { AwsError } from '../service';

interface Parameter {
  Name: string;
  Type: string;
  Value: string;
  Version: number;
  LastModifiedDate: number;
}

/** What a SecureString is to whoever does not ask for it decrypted. */
const SEALED = 'AQICAHhsealed';

/** AWS's own parameters, which no account has. */
const PUBLIC = '/aws/service/';

/** What the role of aws-setup may not read, as no instance of it does. */
const CALLERS = /(^|parameter)\/nx-ec2-callers\//;
/** As documented for names: with the ARN it is 1,011 characters at most. */
const LONGEST = 948;
const LEVELS = 15;
const NAME_RULE =
  'Parameter name must be a fully qualified name. It can only include the following symbols and letters: a-zA-Z0-9_.-/';

/** The Parameter Store: String and SecureString, and the public parameters that name images. */
export class Parameters {
  private readonly kept: KeptJson<Parameter>;
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
        refuseInstances([String(input.Name)], identity, 'GetParameter');
        const found = this.find(String(input.Name));
        if (!found) throw new AwsError('ParameterNotFound', `Parameter ${String(input.Name)} not found.`);
        return { Parameter: this.shown(found, input) };
      },
      GetParameters: (input, identity) => {
        const names = input.Names as string[];
        refuseInstances(names, identity, 'GetParameters');
        if (names.length > 10)
          throw new AwsError('ValidationException', 'Member must have length less than or equal to 10');
        return {
          Parameters: names.flatMap((name) => this.find(name) ?? []).map((each) => this.shown(each, input)),
          InvalidParameters: names.filter((name) => !this.find(name)),
        };
      },
    };
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
    if (!/^[a-zA-Z0-9._/-]+$/.test(Name) || (Name.includes('/') && !Name.startsWith('/')) || Name.length > LONGEST)
      throw new AwsError('ValidationException', NAME_RULE);
    if (Name.split('/').length - 1 > LEVELS)
      throw new AwsError(
        'HierarchyLevelLimitExceededException',
        `A parameter hierarchy can have a maximum of ${LEVELS} levels.`,
      );
    if (!['String', 'SecureString'].includes(Type))
      throw new AwsError('UnsupportedParameterType', `Local AWS has no parameters of the type ${Type}.`);
    const Version = (before?.Version ?? 0) + 1;
    this.kept.set(Name, { Name, Type, Value, Version, LastModifiedDate: Date.now() / 1000 });
    return { Version, Tier: 'Standard' };
  }

  /** By its name, or by its ARN, where a name's slash is the ARN's. */
  private find(name: string): Parameter | undefined {
    return this.own(name) ?? publicParameter(name);
  }

  private own(name: string): Parameter | undefined {
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

function refuseInstances(names: string[], identity: Identity, action: string): void {
  if (identity.instance === undefined || !names.some((name) => CALLERS.test(name))) return;
  throw new AwsError(
    'AccessDeniedException',
    `User: ${identity.arn} is not authorized to perform: ssm:${action} because no identity-based policy allows the ssm:${action} action`,
  );
}

function publicParameter(name: string): Parameter | undefined {
  const path = /^arn:[^:]*:ssm:[^:]*::parameter(\/.*)$/.exec(name)?.[1] ?? name;
  const Value = imageParameter(path);
  return Value === undefined ? undefined : { Name: path, Type: 'String', Value, Version: 1, LastModifiedDate: 0 };
}
