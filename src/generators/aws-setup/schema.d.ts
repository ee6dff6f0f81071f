export interface AwsSetupGeneratorSchema {
  bucket: string;
  region?: string;
  directory?: string;
}
