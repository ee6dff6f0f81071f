import type { WantedInstance } from './wanted-instance';

export interface TrainingTargetsGeneratorSchema extends WantedInstance {
  project: string;
  script?: string;
  outputs?: string[];
  explicit?: boolean;
}
