import { sleep } from '../../system/sleep';
import { steadyNow } from '../../system/moment';
import type { LaunchJournal, LaunchState, StoredLaunch } from './launch-journal';
import { describeInstances, isAlive, listOwnedInstances, type InstanceInfo } from '../describe/describe-instances';
import { isOlder } from './instance-set';
import { TAG } from '../describe/ownership';
import { isRefusal, requiredTagsOf, mismatch } from '../stop/required-tags';
import { managedInstance, NEW_INSTANCE_LAG_MS } from '../stop/managed';
import { terminateAll } from '../stop/terminate';
import type { EnsureOptions, LaunchTimeouts } from './options';

const COMMIT_RETRY_MS = 1_000;
/** Times that instances are written down against others who write. */
const MAX_COMMIT_ATTEMPTS = 20;

/** Writes down which instances a launch has, or terminates those that are duplicates. */
export class LaunchCommit {
  /** Ids of instances that this process has launched, and terminated since others wrote to the journal. */
  readonly givenUp: string[] = [];
  /** How often it has done so: each costs a minute at least. */
  rounds = 0;

  constructor(
    private readonly options: EnsureOptions,
    private readonly key: string,
    private readonly journal: LaunchJournal,
    private readonly timeouts: LaunchTimeouts,
    /** Says that another command is waited for. */
    private readonly report: () => void,
  ) {}

  isOurs({ tags }: InstanceInfo): boolean {
    return tags[TAG.key] === this.key && mismatch(tags, requiredTagsOf(this.options)) === null;
  }

  /** The instances of this launch spec that EC2 lists, the oldest first. */
  async listOurs(): Promise<InstanceInfo[]> {
    const { aws, owner, signal } = this.options;
    return (await listOwnedInstances(aws, owner, signal)).filter((each) => this.isOurs(each));
  }

  /**
   * Writes down the instances of the launch: those that were there before, and those that it has launched. Where the
   * journal names others, or another launch has begun, EC2 is asked: anybody may have written that who writes to the
   * bucket. The launched ones are duplicates, and are terminated, if one that is named instead is one of ours and lives,
   * or if an older one lives.
   * @returns whether the launch has these.
   */
  async commit(launched: InstanceInfo[], state: LaunchState, etag: string): Promise<boolean> {
    const { aws, signal } = this.options;
    const own = [...state.kept, ...launched.map(({ id }) => id)];
    let at: string | null = etag;
    const began = steadyNow();
    // Instances that can't be written down for others who write are found by their tags.
    for (let writes = 0; writes < MAX_COMMIT_ATTEMPTS;) {
      if ((await this.journal.write({ ...state, instances: own }, at)) !== null) return true;
      const now: StoredLaunch | null = await this.journal.read();
      const named = now?.state?.instances ?? [];
      if (own.every((id) => named.includes(id))) return true;
      const others = named.filter((id) => !own.includes(id));
      const found = others.length ? await describeInstances(aws, others, signal) : [];
      // Once: whoever writes another id again and again must not keep these instances waiting.
      const isDoubtful = now !== null && now.age < this.timeouts.sure && steadyNow() - began < this.timeouts.sure;
      if (found.length < others.length && isDoubtful) {
        this.report();
        await sleep(COMMIT_RETRY_MS, signal);
        continue;
      }
      const restarted = !named.length && now?.state && now.state.generation !== state.generation;
      const isDuplicate = restarted
        ? await this.hasOlder(launched, own)
        : found.some((each) => isAlive(each) && this.isOurs(each));
      if (isDuplicate) {
        await this.terminateDuplicates(launched.filter(({ id }) => !named.includes(id)));
        return false;
      }
      at = now?.etag ?? null;
      writes++;
    }
    return true;
  }

  /** Whether EC2 lists another instance that is older. Of two clients, only one has the older instance. */
  private async hasOlder(launched: InstanceInfo[], own: string[]): Promise<boolean> {
    const others = (await this.listOurs()).filter(({ id }) => !own.includes(id));
    return isOlder(others, launched);
  }

  private async terminateDuplicates(launched: InstanceInfo[]): Promise<void> {
    const { aws, printer } = this.options;
    const required = requiredTagsOf(this.options);
    try {
      const looked = await Promise.all(
        launched.map(({ id }) => managedInstance(aws, id, required, { unseen: NEW_INSTANCE_LAG_MS })),
      );
      const duplicates = looked.filter((each) => each !== null);
      if (!duplicates.length) return;
      const ids = duplicates.map(({ id }) => id);
      const what = ids.length > 1 ? 'instances' : 'an instance';
      printer.line(`Terminating ${ids.join(', ')}: another client launched ${what} first.`);
      this.rounds++;
      this.givenUp.push(...ids);
      await terminateAll(aws, duplicates, printer);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      printer.warn(error.message);
    }
  }
}
