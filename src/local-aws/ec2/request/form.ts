import { AwsError } from '../../protocol/aws-error';

/** The parameters of a query request, or the part of them below a prefix: `Placement.`, `TagSpecification.1.`. */
export class Form {
  constructor(
    private readonly fields: URLSearchParams,
    private readonly prefix = '',
  ) {}

  text(name: string): string | undefined {
    return this.fields.get(this.prefix + name) ?? undefined;
  }

  /** @throws AwsError MissingParameter */
  required(name: string): string {
    const found = this.text(name);
    if (!found) throw new AwsError('MissingParameter', `The request must contain the parameter ${this.prefix}${name}`);
    return found;
  }

  /** @throws AwsError InvalidParameterValue where it is no whole number. */
  number(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (!/^-?\d+$/.test(text))
      throw new AwsError('InvalidParameterValue', `Value (${text}) for parameter ${this.prefix}${name} is invalid.`);
    return Number(text);
  }

  /** ms since the epoch. @throws AwsError InvalidParameterValue where it is no time. */
  time(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const ms = Date.parse(text);
    if (Number.isNaN(ms))
      throw new AwsError('InvalidParameterValue', `Invalid value '${text}' for ${this.prefix}${name}.`);
    return ms;
  }

  flag(name: string): boolean | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : text === 'true';
  }

  /** What is below a name; undefined where nothing is. */
  part(name: string): Form | undefined {
    const prefix = `${this.prefix}${name}.`;
    return [...this.fields.keys()].some((key) => key.startsWith(prefix)) ? new Form(this.fields, prefix) : undefined;
  }

  /** `Name.1`, `Name.2`, … */
  list(name: string): string[] {
    const values: string[] = [];
    for (let number = 1; ; number++) {
      const value = this.text(`${name}.${number}`);
      if (value === undefined) return values;
      values.push(value);
    }
  }

  /** `Name.1.…`, `Name.2.…`, … */
  parts(name: string): Form[] {
    const parts: Form[] = [];
    for (let number = 1; ; number++) {
      const part = this.part(`${name}.${number}`);
      if (!part) return parts;
      parts.push(part);
    }
  }

  tags(name = 'Tag'): Record<string, string> {
    return Object.fromEntries(this.parts(name).map((tag) => [tag.required('Key'), tag.text('Value') ?? '']));
  }

  /** The tags that a call gives what it makes, by the type of resource. */
  tagSpecifications(name = 'TagSpecification'): Record<string, Record<string, string>> {
    const found: Record<string, Record<string, string>> = {};
    for (const part of this.parts(name)) Object.assign((found[part.text('ResourceType') ?? ''] ??= {}), part.tags());
    return found;
  }

  /** What the request asks for, to compare it with another under the same client token. */
  fingerprint(): string {
    const told = new Set(['Action', 'Version', 'ClientToken', 'DryRun']);
    return JSON.stringify([...this.fields].filter(([name]) => !told.has(name)).sort());
  }
}
