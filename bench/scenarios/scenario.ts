import type { NetworkProfile } from '../../src/local-aws/link/network';
import type { Course, Timing } from '../contenders/contender';
import type { OurCourse } from '../contenders/ours';
import type { Floor } from '../report/floor';
import type { Testbed } from '../testbed/testbed';
import type { Input, InputName } from '../inputs/inputs';

/** Names of rows that are measured in turn with a whole process. */
export const NOTHING = 'nx run of nothing';
export const BARE = 'the same without nx-ec2';
export const AGAINST = 'nx-ec2, --against';

/** What one contender did in one scenario. Bytes and requests are those of the client's link. */
export interface Measure {
  /** ms. */
  time: number;
  sent: number;
  received: number;
  requests: number;
  /** SSM commands. */
  commands: number;
  /** Bytes of requests that write to S3, heads included. */
  stored: number;
  /** From the first line to the first SSM command being on the wire, ms. */
  toCommand?: number;
  /** From the first command's start to its end on the instance, ms. */
  onInstance?: number;
  startUp?: number;
  /** Of it, the loading of the code alone. */
  loading?: number;
  /** User and system time, ms: of the client's process and its children; of the commands' processes on the instance. */
  processor: { client?: number; instance?: number };
  clientMemory?: number;
  /** What a scenario measures beside the time. */
  more: Record<string, number>;
  /** What was measured in turn with it, by the name that its row has. */
  inTurn?: Record<string, Measure>;
}

/** Where a scenario is run: one contender, one input, an instance that has nothing yet. */
export interface Stage<C extends Course = Course> {
  course: C;
  testbed: Testbed;
  input: Input;
  network: NetworkProfile;
  /** Measures one thing that the contender does, on the scenario's network. */
  measure(act: () => Promise<Timing>): Promise<Measure>;
  /** How often a scenario of whole processes measures each of them. */
  rounds: number;
  /** The same input in another workspace, with another package or none; its course syncs to the second instance. */
  workspaceWith(plugin: OtherPlugin): { course: OurCourse; input: Input } | null;
  signal?: AbortSignal;
}

/** None, or the package that --against names: null where it names none. */
export type OtherPlugin = 'none' | 'against';

/** A goal, and how far it was met. */
export interface Goal {
  text: string;
  /** @returns null where what it is held against was not measured. */
  judge(ours: Measure, result: Result): { value: string; met: boolean } | null;
}

interface Common {
  name: string;
  /** After the input's title. */
  title: string;
  input: InputName;
  /** Absent: the benchmark's. */
  network?: NetworkProfile;
  floor?: (network: NetworkProfile, input: Input) => Floor;
  goals: Goal[];
}

export type Scenario = Common &
  (
    | { of: 'all'; run(stage: Stage): Promise<Measure> }
    /** Nobody else has anything to measure here. */
    | { of: 'ours'; run(stage: Stage<OurCourse>): Promise<Measure> }
  );

export interface Result {
  scenario: Scenario;
  input: string;
  network: NetworkProfile;
  floor: Floor | null;
  /** Of each contender the measure with the median time, and all times; or why there is none. */
  rows: { contender: string; measure?: Measure; times?: number[]; failure?: string }[];
}
