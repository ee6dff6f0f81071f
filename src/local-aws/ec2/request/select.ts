import type { Form } from './form';
import { AwsError } from '../../protocol/aws-error';

type Value = string | undefined;

/**
 * The rows that a Describe call's filters mean: each filter by any of its values, in which `*` and `?` stand for others.
 * @param fields what a row has by the name of a filter; `tag:<key>` and `tag-key` are of its tags.
 */
export function select<Row>(
  form: Form,
  rows: Row[],
  fields: Record<string, (row: Row) => Value | Value[]>,
  tags?: (row: Row) => Record<string, string>,
): Row[] {
  const filters = form.parts('Filter').map((part) => {
    const name = part.required('Name');
    const wanted = part.list('Value').map(pattern);
    const read = field(name, fields, tags);
    return (row: Row) =>
      [read(row)].flat().some((value) => wanted.some((each) => value !== undefined && each.test(value)));
  });
  return rows.filter((row) => filters.every((meets) => meets(row)));
}

function field<Row>(
  name: string,
  fields: Record<string, (row: Row) => Value | Value[]>,
  tags: ((row: Row) => Record<string, string>) | undefined,
): (row: Row) => Value | Value[] {
  if (tags && name === 'tag-key') return (row) => Object.keys(tags(row));
  if (tags && name.startsWith('tag:')) return (row) => tags(row)[name.slice(4)];
  if (!Object.hasOwn(fields, name)) throw new AwsError('InvalidParameterValue', `The filter '${name}' is invalid`);
  return fields[name];
}

function pattern(text: string): RegExp {
  const escaped = text.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/\*/g, '.*').replace(/\?/g, '.')}$`, 'su');
}

/** A page of a Describe call's rows, and the token of the next one. */
export function page<Row>(form: Form, rows: Row[]): { rows: Row[]; nextToken: string | undefined } {
  const size = form.number('MaxResults') ?? Infinity;
  const token = form.text('NextToken');
  const from = token === undefined ? 0 : Number(Buffer.from(token, 'base64').toString());
  if (!Number.isInteger(from)) throw new AwsError('InvalidNextToken', 'The token is not valid.');
  const to = from + size;
  return {
    rows: rows.slice(from, to),
    nextToken: to < rows.length ? Buffer.from(String(to)).toString('base64') : undefined,
  };
}
