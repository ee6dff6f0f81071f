/** `{{ssm:NAME}}` or `{{ssm:NAME:VERSION}}`, as the agent finds it in a document's parameters. */
const REFERENCE = /\{\{ *ssm:([/\w.:-]+) *\}\}/g;
/** GetParameters takes so many names. */
const MAX_NAMES = 10;

/** A parameter as GetParameters answers it. */
export interface Found {
  Name: string;
  Selector?: string;
  Type: string;
  Value: string;
}

/**
 * Puts the values of parameters in place of their references, in all parameters of a document.
 * @param getParameters the parameters of these names that exist.
 * @returns null where the agent fails the document: a name does not exist, or is a SecureString's.
 */
export function resolveReferences(
  parameters: Record<string, string[]>,
  getParameters: (names: string[]) => Found[],
): Record<string, string[]> | null {
  const texts = Object.values(parameters).flat();
  const names = [...new Set(texts.flatMap((text) => [...text.matchAll(REFERENCE)].map(([, name]) => name)))];
  if (!names.length) return parameters;
  const values = new Map<string, string>();
  for (let from = 0; from < names.length; from += MAX_NAMES)
    for (const { Name, Selector = '', Type, Value } of getParameters(names.slice(from, from + MAX_NAMES)))
      if (Type !== 'SecureString') values.set(Name + Selector, Value);
  if (names.some((name) => !values.has(name))) return null;
  return Object.fromEntries(
    Object.entries(parameters).map(([parameter, lines]) => [
      parameter,
      lines.map((line) => line.replace(REFERENCE, (_, name: string) => values.get(name)!)),
    ]),
  );
}
