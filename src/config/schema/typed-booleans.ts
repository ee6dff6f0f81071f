import { z } from 'zod';
import { isObject } from './merge';

/**
 * An option with `true` and `false` as yes and no wherever the schema has such a value, also beside text: a command line
 * is text, and Nx converts only what is a boolean and nothing else.
 */
export function withBooleans(schema: z.ZodType, value: unknown): unknown {
  return convert(formsOf(schema), value);
}

function convert(forms: readonly z.ZodType[], value: unknown): unknown {
  if (value === 'true' || value === 'false') {
    const is = value === 'true';
    return forms.some((form) => takes(form, is)) ? is : value;
  }
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([key, each]) => {
    const inner = forms.flatMap((form) => valuesOf(form, key));
    return [key, convert(inner, each)];
  });
  return Object.fromEntries(entries);
}

function takes(form: z.ZodType, is: boolean): boolean {
  return form instanceof z.ZodBoolean || (form instanceof z.ZodLiteral && form.values.has(is));
}

/** What a key of an object may hold. */
function valuesOf(form: z.ZodType, key: string): z.ZodType[] {
  if (form instanceof z.ZodRecord) return formsOf(form.valueType as z.ZodType);
  if (!(form instanceof z.ZodObject) || !Object.hasOwn(form.shape, key)) return [];
  return formsOf((form.shape as Record<string, z.ZodType>)[key]);
}

/** The kinds of value that a schema takes, without what only says that one may be absent. */
function formsOf(schema: z.ZodType): z.ZodType[] {
  if (schema instanceof z.ZodUnion) return (schema.options as z.ZodType[]).flatMap(formsOf);
  if (schema instanceof z.ZodPipe) return formsOf(schema.in as z.ZodType);
  const isOptional =
    schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault;
  return isOptional ? formsOf(schema.unwrap() as z.ZodType) : [schema];
}
