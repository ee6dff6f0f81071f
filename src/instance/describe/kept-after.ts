/** How long an instance is kept after a run, ms; null: until another shutdown rule applies. */
type Kept = Record<'success' | 'failure', number | null>;

/**
 * How long an instance is kept after a run, by its `onFinish`, as its watchdog has it. If files of a run that succeeded are
 * on the instance alone, it is kept as after a failure.
 */
export function keptAfter({ success, failure }: Kept, succeeded: boolean, allSaved: boolean): number | null {
  return succeeded && allSaved ? success : failure;
}
