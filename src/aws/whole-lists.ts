import { formatNumber } from '../report/units';

/** A client of the SDK's, as far as it is known here. */
interface Client {
  middlewareStack?: { add(middleware: (next: Next, context: Context) => Next, where: { step: 'initialize' }): void };
}
type Next = (request: { input: Page }) => Promise<{ output: Page }>;
interface Context {
  commandName?: string;
}

/** The fields of the requests and answers of lists by which their pages follow one another. */
interface Page {
  ContinuationToken?: string;
  NextContinuationToken?: string;
  NextToken?: string;
  IsTruncated?: boolean;
  KeyCount?: number;
  Name?: string;
  Contents?: { Key?: string }[];
  CommonPrefixes?: { Prefix?: string }[];
}

/** So many pages one after the other may bring nothing new: some APIs look through what matches no filter a page at a time. */
const MAX_IDLE_PAGES = 200;
/** More than any list that is kept whole here, but for lists of objects, whose readers have limits of their own. */
const MAX_ENTRIES = 100_000;

/** Follows the pages of one list, which may be without an end. */
export class ListPages {
  private idle = 0;
  private entries = 0;
  private last = Buffer.alloc(0);

  /** @param sent the token that the page was requested by. @throws Error where this list does not end. */
  add(sent: string | undefined, page: object): void {
    const { NextContinuationToken, NextToken, Contents, CommonPrefixes } = page as Page;
    const next = NextContinuationToken ?? NextToken;
    if (!next) return;
    if (sent === next) throw new Error('The server answered with the same page of a list again.');
    const isOfObjects = NextContinuationToken !== undefined;
    this.idle = (isOfObjects ? this.hasNewKeys(Contents, CommonPrefixes) : this.hasEntries(page)) ? 0 : this.idle + 1;
    if (this.idle >= MAX_IDLE_PAGES)
      throw new Error(`The server answered with ${MAX_IDLE_PAGES} pages of a list that hold nothing new.`);
  }

  /** Keys are sorted. */
  private hasNewKeys(objects: Page['Contents'] = [], groups: Page['CommonPrefixes'] = []): boolean {
    const before = this.last;
    for (const key of [objects.at(-1)?.Key, groups.at(-1)?.Prefix].map((name) => Buffer.from(name ?? '')))
      if (Buffer.compare(key, this.last) > 0) this.last = key;
    return this.last !== before;
  }

  private hasEntries(page: object): boolean {
    const lists = Object.values(page).filter((value) => Array.isArray(value));
    const count = lists.reduce((sum, { length }) => sum + length, 0);
    if ((this.entries += count) > MAX_ENTRIES)
      throw new Error(`The server answered with a list of more than ${formatNumber(MAX_ENTRIES)} entries.`);
    return count > 0;
  }
}

/**
 * Makes a client reject lists that are incomplete or do not end: what is missing in a list counts as deleted. The SDK
 * itself takes an empty body for an empty list, ends a list that is cut off, and requests the same page without end.
 */
export function requireWholeLists<T>(client: T): T {
  /** By the token of the next page. */
  const lists = new Map<string, ListPages>();
  (client as Client).middlewareStack?.add(
    (next, { commandName = '' }) =>
      async (request) => {
        const answer = await next(request);
        const fault = commandName === 'ListObjectsV2Command' ? listFault(answer.output) : null;
        if (fault) throw new Error(`S3 answered a list of objects with ${fault}.`);
        const { input } = request;
        const { output } = answer;
        assertNamed(input, output);
        const sent = input.ContinuationToken ?? input.NextToken;
        const pages = (sent && lists.get(`${commandName} ${sent}`)) || new ListPages();
        lists.delete(`${commandName} ${sent}`);
        pages.add(sent, output);
        const following = output.NextContinuationToken ?? output.NextToken;
        if (following) lists.set(`${commandName} ${following}`, pages);
        return answer;
      },
    { step: 'initialize' },
  );
  return client;
}

interface Named {
  InstanceIds?: string[];
  FleetIds?: string[];
  LaunchTemplateNames?: string[];
}
interface Described {
  Reservations?: { Instances?: { InstanceId?: string }[] }[];
  Fleets?: { FleetId?: string }[];
  LaunchTemplates?: { LaunchTemplateName?: string }[];
}

/** The names of resources in EC2's answers, by what asks for them. */
const NAMES: Record<keyof Named, (answer: Described) => (string | undefined)[] | undefined> = {
  InstanceIds: ({ Reservations }) =>
    Reservations?.flatMap(({ Instances = [] }) => Instances.map(({ InstanceId }) => InstanceId)),
  FleetIds: ({ Fleets }) => Fleets?.map(({ FleetId }) => FleetId),
  LaunchTemplateNames: ({ LaunchTemplates }) => LaunchTemplates?.map(({ LaunchTemplateName }) => LaunchTemplateName),
};

/**
 * Checks that an answer which describes resources by their names has those, and no others: where EC2 knows none of a name,
 * it answers with an error.
 * @throws Error
 */
export function assertNamed(input: object, output: object): void {
  for (const [field, namesOf] of Object.entries(NAMES)) {
    const asked = (input as Named)[field as keyof Named];
    const found = asked?.length ? namesOf(output as Described) : undefined;
    if (!asked || !found) continue;
    const other = found.find((name) => !asked.includes(name ?? ''));
    const missing = asked.find((name) => !found.includes(name));
    if (other !== undefined || missing !== undefined)
      throw new Error(
        `EC2 was asked for ${asked.join(', ')}, and answered ${other === undefined ? `without ${missing}` : 'with another'}.`,
      );
  }
}

function listFault({ Name, KeyCount, IsTruncated, NextContinuationToken }: Page): string | null {
  if (Name === undefined && KeyCount === undefined && IsTruncated === undefined) return 'something else';
  return IsTruncated && !NextContinuationToken ? 'a part of it, and does not say how to get the next one' : null;
}
