import type { WantedInstance } from './wanted-instance';

export interface TrainingTargetsGeneratorSchema extends WantedInstance {
  project: string;
  script?: string;
  command?: string;
  outputs?: string[];
  explicit?: boolean;
  quiet?: boolean;
}
