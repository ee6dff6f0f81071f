/**
 * A function of a path that depends on its directory alone, found out once for each directory. Paths that follow each
 * other are mostly in one directory: then nothing is looked up.
 * @param of is given the directory, `.` where a path has none.
 */
export function byDirectory<T>(of: (directory: string) => T): (path: string) => T {
  const known = new Map<string, { value: T }>();
  let last = '';
  let found: { value: T } | undefined;
  return (path) => {
    const slash = path.lastIndexOf('/');
    if (found && slash === last.length && path.startsWith(last)) return found.value;
    const directory = slash < 0 ? '.' : path.slice(0, slash);
    let now = known.get(directory);
    if (!now) known.set(directory, (now = { value: of(directory) }));
    // The computation may have asked for directories above.
    last = directory;
    found = slash < 0 ? undefined : now;
    return now.value;
  };
}
