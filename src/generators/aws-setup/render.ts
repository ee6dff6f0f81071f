import type { Statement } from '../../aws/permissions/statement';

export type Json = Record<string, unknown>;

/** A policy of what statements allow. */
export function allow(...statements: Statement[]): Json {
  return policy(...statements.map(render));
}

export function policy(...statements: Json[]): Json {
  return { Version: '2012-10-17', Statement: statements };
}

/** A value that the template has only where one of its conditions holds, or with `!` only where it does not. */
export function where(condition: string, value: Json): Json {
  const absent = { Ref: 'AWS::NoValue' };
  return condition.startsWith('!')
    ? { 'Fn::If': [condition.slice(1), absent, value] }
    : { 'Fn::If': [condition, value, absent] };
}

/** A text with `${…}` in it, as a template has it. */
export function substituted(text: string): unknown {
  const whole = /^\$\{([^!}]+)\}$/.exec(text)?.[1];
  if (whole === undefined) return /\$\{[^!]/.test(text) ? { 'Fn::Sub': text } : text.replaceAll('${!', '${');
  const [resource, attribute] = whole.split('.');
  return attribute ? { 'Fn::GetAtt': [resource, attribute] } : { Ref: whole };
}

const SETTING = { KmsKeyArn: 'HasKey', DataArns: 'HasData', Prefix: 'HasPrefix', '!Prefix': '!HasPrefix' };

function render(statement: Statement): Json {
  const { Sid, Action, Resource, Condition } = statement;
  const resources = Resource === '*' ? '*' : Resource.map(substituted);
  const rendered = {
    Sid,
    Effect: 'Allow',
    Action: Action.length === 1 ? Action[0] : Action,
    Resource: resources.length === 1 ? resources[0] : resources,
    ...(Condition ? { Condition: deep(Condition) } : {}),
  };
  return statement.where ? where(SETTING[statement.where], rendered) : rendered;
}

function deep(value: unknown): unknown {
  if (typeof value === 'string') return substituted(value);
  if (Array.isArray(value)) return value.map(deep);
  return Object.fromEntries(Object.entries(value as object).map(([key, each]) => [key, deep(each)]));
}
