/** What is otherwise, or in one of two alone: then the other is undefined. */
export interface Change {
  /** Keys from the outermost on, joined by dots. */
  path: string;
  before: unknown;
  after: unknown;
}

/** What differs between two JSON values, key by key; lists are compared whole. */
export function compareValues(before: unknown, after: unknown, path = ''): Change[] {
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) =>
      compareValues(own(before, key), own(after, key), path ? `${path}.${name(key)}` : name(key)),
    );
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
}

function own(object: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** A key that holds a dot must not look like two. */
function name(key: string): string {
  return /^[^."\s]+$/.test(key) ? key : JSON.stringify(key);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
