import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { callerIdentity } from '../../workspace/identity';
import { projectOf, TAG, tagText, type Owner } from '../describe/ownership';
import { nxRun } from '../../report/shell-words';

/** What the tags of a resource must say so that the client stops, terminates, cancels or deletes it. */
export interface RequiredTags {
  owner: Owner;
  /** The configured bucket and prefix: `bucket/prefix`. */
  store: string;
  /** The run that it must have been launched for; absent where it is not ended for a run. */
  run?: string;
  /** Tags that need not match, because the user named the resource and forced it. `managed` always counts. */
  waived?: readonly Waivable[];
}

/** The tags that a launch sets for its owner and store, as the required ones. */
export function requiredTagsOf(of: { owner: Owner; store: { bucket: string }; prefix?: string }): RequiredTags {
  return { owner: of.owner, store: `${of.store.bucket}/${of.prefix ?? ''}` };
}

export type Waivable = 'workspace' | 'project' | 'owner' | 'store';

/** A tag that does not say what it must. */
export interface Mismatch {
  tag: 'managed' | Waivable | 'run';
  /** null: the resource does not have the tag. */
  value: string | null;
  expected: string;
}

/** Compares a resource's tags with the required ones. @returns the first that differs; null: it may be ended. */
export function mismatch(tags: Readonly<Record<string, string>>, required: RequiredTags): Mismatch | null {
  return mismatches(tags, required)[0] ?? null;
}

/** All tags of a resource that differ from the required ones. */
export function mismatches(tags: Readonly<Record<string, string>>, required: RequiredTags): Mismatch[] {
  const { owner, store, run, waived = [] } = required;
  const rules: [tag: Mismatch['tag'], expected: string, same?: (value: string) => string][] = [
    ['managed', 'true'],
    ['workspace', tagText(owner.workspace)],
    ['project', tagText(projectOf(owner))],
    ['store', tagText(store), withoutSlash],
    ['owner', tagText(owner.caller), callerIdentity],
    ...(run === undefined ? [] : [['run', run] as ['run', string]]),
  ];
  return rules.flatMap(([tag, expected, same = (value: string) => value]) => {
    if ((waived as readonly string[]).includes(tag)) return [];
    const value = Object.hasOwn(tags, TAG[tag]) ? tags[TAG[tag]] : null;
    return value === null || same(value) !== same(expected) ? [{ tag, value, expected }] : [];
  });
}

/** A prefix means the same with a slash at its end and without one. */
function withoutSlash(store: string): string {
  return store.replace(/\/+$/, '');
}

/**
 * Explains why a resource was not touched, with all tags that differ.
 * @param what `The instance i-…`. @param next what to do about the tags of another owner.
 */
export function refusal(
  what: string,
  tags: Readonly<Record<string, string>>,
  required: RequiredTags,
  next?: string,
): Problem {
  const { owner } = required;
  const wrong = mismatches(tags, required);
  const { tag } = wrong[0];
  const down = nxRun(owner.project, 'remote-down', '--instance=ID', '--force');
  if (tag === 'managed')
    return new Problem(
      'NOT_MANAGED',
      `${what} was not touched: nx-ec2 did not launch it (no tag ${TAG.managed}=true).`,
      {
        next: 'nx-ec2 never terminates or deletes such a resource. To remove it, use the AWS console or CLI.',
      },
    );
  return new Problem(
    tag === 'run' ? 'OTHER_RUN' : 'NOT_OWNER',
    `${what} was not touched: its ${wrong.length === 1 ? 'tag' : 'tags do not match:'} ${wrong.map(describeMismatch).join('; ')}.`,
    {
      next:
        tag === 'run'
          ? `It was launched for another run. To terminate it anyway: ${nxRun(owner.project, 'remote-down')}`
          : (next ?? `Ask its owner, or terminate the instance anyway: ${down}`),
    },
  );
}

function describeMismatch({ tag, value, expected }: Mismatch): string {
  const has = value === null ? 'is missing' : `is ${JSON.stringify(sanitizeForTerminal(value))}`;
  return `${TAG[tag]} ${has}, and must be ${JSON.stringify(sanitizeForTerminal(expected))}`;
}

/** Whether a failure says that a resource was not touched. */
export function isRefusal(error: unknown): error is Problem {
  return error instanceof Problem && ['NOT_MANAGED', 'NOT_OWNER', 'OTHER_RUN'].includes(error.code);
}
