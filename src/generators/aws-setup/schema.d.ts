export interface AwsSetupGeneratorSchema {
  bucket: string;
  region?: string;
  directory?: string;
  instanceProfile?: string;
  launch?: boolean;
  recovery?: boolean;
  deadline?: boolean;
  lifecycle?: boolean;
  budget?: number;
  email?: string;
  endpoints?: boolean;
  nodes?: boolean;
  vpc?: string;
  subnets?: string | string[];
  routeTables?: string | string[];
  securityGroups?: string | string[];
}
