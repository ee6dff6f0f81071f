export interface TrainingTargetsGeneratorSchema {
  project: string;
  script?: string;
  outputDir?: string;
  explicit?: boolean;
}
