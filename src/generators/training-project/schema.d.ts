import type { WantedInstance } from '../training-targets/wanted-instance';

export interface TrainingProjectGeneratorSchema extends WantedInstance {
  directory: string;
  name?: string;
  environment?: 'auto' | 'none' | 'uv' | 'pip';
  tags?: string;
}
