import type { NetworkProfile } from '../../src/local-aws/link/network';
import type { Course, Timing } from '../contenders/contender';
import type { OurCourse } from '../contenders/ours';
import type { Floor } from '../report/floor';
import type { Testbed } from '../testbed/testbed';
import type { Input, InputName } from '../inputs/inputs';

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
  clientMemory?: number;
  /** What a scenario measures beside the time. */
  more: Record<string, number>;
}

/** Where a scenario is run: one contender, one input, an instance that has nothing yet. */
export interface Stage<C extends Course = Course> {
  course: C;
  testbed: Testbed;
  input: Input;
  network: NetworkProfile;
  /** Measures one thing that the contender does, on the scenario's network. */
  measure(act: () => Promise<Timing>): Promise<Measure>;
  signal?: AbortSignal;
}

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
