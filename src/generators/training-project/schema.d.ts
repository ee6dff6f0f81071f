export interface TrainingProjectGeneratorSchema {
  directory: string;
  name?: string;
  environment?: 'auto' | 'none' | 'uv' | 'pip';
  tags?: string;
}
