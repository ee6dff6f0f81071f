/** What an ignore file says of a name: it is ignored, brought back by a `!`, or not mentioned. */
export type Verdict = 'ignored' | 'kept' | null;

interface Rule {
  /** Its place in the file: the last rule that matches decides. */
  order: number;
  kept: boolean;
  onlyDirectories: boolean;
}

/** A rule that is relative to the directory of its file. */
interface PathRule extends Rule {
  expression: RegExp;
  /** The directories that it begins with, each with a slash, as far as they hold no wildcard. */
  base: string;
  /** How many names a path has that it matches; null: any number. */
  depth: number | null;
}

/** Characters that Nx and git read as themselves. */
const LITERAL = /^[A-Za-z0-9_.~@+,=%&$#;:' -]+$/;
const ASCII = /^[\t -~\r]*$/;
const CLASS = String.raw`\[[A-Za-z0-9_.]+(?:-[A-Za-z0-9])?\]`;
/** A name with wildcards that Nx and git read alike. */
const NAME = new RegExp(String.raw`^(?:[A-Za-z0-9_.~@+,=%&$#;:' -]|\*(?!\*)|${CLASS})+$`);

/**
 * The rules of a .gitignore or .nxignore, for a walk that does not descend into ignored directories. Names alone are
 * looked up; most files have no other rules.
 */
export class IgnoreRules {
  private readonly names = new Map<string, Rule[]>();
  /** `*` and literal characters, by the last of these. */
  private readonly endings = new Map<number, (Rule & { ending: string })[]>();
  private readonly wild: (Rule & { expression: RegExp })[] = [];
  private readonly paths: PathRule[] = [];

  /** @returns null where a rule is one that Nx may read otherwise. */
  static parse(text: string): IgnoreRules | null {
    // Nx reads a file up to the first line that is not UTF-8.
    if (text.includes('\ufffd')) return null;
    const rules = new IgnoreRules();
    try {
      return text.split('\n').every((line, order) => rules.add(line, order)) ? rules : null;
    } catch {
      // A class such as [z-a].
      return null;
    }
  }

  get isEmpty(): boolean {
    return this.hasNamesOnly && this.names.size + this.endings.size + this.wild.length === 0;
  }

  get hasNamesOnly(): boolean {
    return this.paths.length === 0;
  }

  /** @param directory relative to that of the file, with a slash at its end, or empty. */
  in(directory: string): DirectoryRules {
    const depth = directory.split('/').length;
    const paths = this.paths.filter(
      (rule) => directory.startsWith(rule.base) && (rule.depth === null || rule.depth === depth),
    );
    return (name, isDirectory) => {
      let last: Rule | undefined;
      const take = (rule: Rule) => {
        if ((isDirectory || !rule.onlyDirectories) && (!last || rule.order > last.order)) last = rule;
      };
      this.names.get(name)?.forEach(take);
      for (const rule of this.endings.get(name.charCodeAt(name.length - 1)) ?? [])
        if (name.endsWith(rule.ending)) take(rule);
      for (const rule of this.wild) if (rule.expression.test(name)) take(rule);
      for (const rule of paths) if (rule.expression.test(directory + name)) take(rule);
      return last ? (last.kept ? 'kept' : 'ignored') : null;
    };
  }

  private add(line: string, order: number): boolean {
    if (line.startsWith('#')) return true;
    let pattern = line.trimEnd();
    if (pattern === '') return true;
    // Each language has spaces of its own.
    if (!ASCII.test(line)) return false;
    const kept = pattern.startsWith('!');
    if (kept) pattern = pattern.slice(1);
    const isRooted = pattern.startsWith('/');
    if (isRooted) pattern = pattern.slice(1);
    const onlyDirectories = pattern.endsWith('/');
    if (onlyDirectories) pattern = pattern.slice(0, -1);
    const rule = { order, kept, onlyDirectories };
    const parts = pattern.split('/');
    if (!isRooted && parts.length === 2 && parts[0] === '**') parts.shift();
    return !isRooted && parts.length === 1 ? this.addName(parts[0], rule) : this.addPath(parts, rule);
  }

  private addName(name: string, rule: Rule): boolean {
    if (!NAME.test(name)) return false;
    if (LITERAL.test(name)) {
      push(this.names, name, rule);
    } else if (name.startsWith('*') && LITERAL.test(name.slice(1))) {
      push(this.endings, name.charCodeAt(name.length - 1), { ...rule, ending: name.slice(1) });
    } else this.wild.push({ ...rule, expression: new RegExp(`^${sourceOf(name)}$`, 's') });
    return true;
  }

  private addPath(parts: string[], rule: Rule): boolean {
    const deep = parts.map((part) => part === '**');
    const isReadable = parts.every((part, at) => (deep[at] ? !deep[at - 1] : NAME.test(part)));
    if (!isReadable || deep.every(Boolean)) return false;
    const isWild = parts.map((part) => !LITERAL.test(part));
    const literal = Math.min(parts.length - 1, isWild.includes(true) ? isWild.indexOf(true) : parts.length);
    const source = parts.map((part, at) => {
      const isLast = at === parts.length - 1;
      // What is in a directory, and not the directory itself.
      if (deep[at]) return isLast ? '.+' : '(?:.*/)?';
      return sourceOf(part) + (isLast ? '' : '/');
    });
    this.paths.push({
      ...rule,
      expression: new RegExp(`^${source.join('')}$`, 's'),
      base: parts
        .slice(0, literal)
        .map((part) => `${part}/`)
        .join(''),
      depth: deep.includes(true) ? null : parts.length,
    });
    return true;
  }
}

/** What the rules say of a name in one directory. */
export type DirectoryRules = (name: string, isDirectory: boolean) => Verdict;

function push<K, T>(lists: Map<K, T[]>, key: K, value: T): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

function sourceOf(name: string): string {
  return name.replace(/\[[^\]]*\]|\*|[^A-Za-z0-9_*]/g, (token) =>
    token === '*' ? '[^/]*' : token.length > 1 ? token : `\\${token}`,
  );
}
