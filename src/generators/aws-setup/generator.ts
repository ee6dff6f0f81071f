import { formatFiles, joinPathFragments, readNxJson, writeJson, type Tree } from '@nx/devkit';
import { allPluginOptions } from '../../config/sources/plugin-options';
import { connectionShape } from '../../config/schema/schema';
import { Problem } from '../../report/problem';
import { registerPlugin } from '../init/generator';
import { INSTANCE_TAG, MANAGED_TAG } from '../../aws/permissions/statement';
import { NODES_GROUP } from './nodes';
import { readOptions, type SetupOptions } from './options';
import { runGenerator } from '../run-generator';
import type { AwsSetupGeneratorSchema } from './schema';
import { setupTemplate } from './template';
import { commandLine } from '../../report/shell-words';

/** Writes the CloudFormation template and puts the bucket into nx.json; nothing is made in AWS. */
export default function awsSetup(tree: Tree, options: AwsSetupGeneratorSchema): Promise<() => void> {
  return runGenerator(tree, () => generate(tree, options));
}

async function generate(tree: Tree, options: AwsSetupGeneratorSchema): Promise<() => void> {
  const { bucket } = options;
  if (!connectionShape.bucket.safeParse(bucket).success || /\.\.|^xn--|-s3alias$|^\d+(\.\d+){3}$/.test(bucket)) {
    throw new Problem('BUCKET_NAME', `${JSON.stringify(bucket)} can't be the name of a bucket.`, {
      next: '3 to 63 lower-case letters, digits, hyphens and dots, with a letter or a digit at both ends.',
    });
  }
  const directory = joinPathFragments(options.directory ?? 'aws');
  if (directory.startsWith('..') || directory.startsWith('/')) {
    throw new Problem('DIRECTORY_OUTSIDE', `--directory=${directory} is outside the workspace.`);
  }
  const setup = readOptions(options);
  await registerPlugin(tree, { bucket, region: options.region });
  const entries = allPluginOptions(readNxJson(tree) ?? {});
  const known = entries.find((entry) => entry.bucket === bucket) ?? entries[0];
  const file = joinPathFragments(directory, 'nx-ec2.template.json');
  writeJson(tree, file, setupTemplate(bucket, setup));
  await formatFiles(tree);
  return () => {
    const region = typeof known.region === 'string' ? ['--region', known.region] : [];
    if (known.bucket !== bucket) {
      console.warn(
        `nx.json has another bucket, ${String(known.bucket)}, which was kept. The template creates ${bucket}.`,
      );
    }
    for (const line of whatNext(file, setup, region)) console.log(line);
  };
}

/** The next steps after the template is written. @param region as the AWS CLI takes it, or none. */
function whatNext(file: string, setup: SetupOptions, region: readonly string[]): string[] {
  const { launch, nodes, lifecycle, budget, deadline, instanceProfile } = setup;
  const capability = instanceProfile ? 'CAPABILITY_NAMED_IAM' : 'CAPABILITY_IAM';
  const stack = ['--stack-name', 'nx-ec2'];
  const query = ['--output', 'text', '--query'];
  const outputs = commandLine('aws', 'cloudformation', 'describe-stacks', ...stack, ...region, ...query);
  const template = ['--template-file', file, '--capabilities', capability];
  const profile = instanceProfile
    ? `"${instanceProfile}"`
    : `the output of: ${outputs} "Stacks[0].Outputs[?OutputKey=='InstanceProfile'].OutputValue"`;
  return [
    `
Deploy it once per account and region, with the permission to create roles:
  ${commandLine('aws', 'cloudformation', 'deploy', ...stack, ...template, ...region)}
  ${outputs} 'Stacks[0].Outputs'
Then attach CallerPolicy to the users who start trainings, give the instances that train InstanceProfile, and tag them:
  aws ec2 create-tags --resources i-… ${commandLine('--tags', `Key=${INSTANCE_TAG},Value=train`, ...region)}`,
    ...(launch
      ? [
          `
Also attach LaunchPolicy to the users who launch instances, and set the profile of these instances,
"instance": { "instanceProfile": … } in ec2.config.json or in the plugin's options in nx.json:
  ${profile}`,
        ]
      : []),
    ...(nodes
      ? [
          `
For trainings on several instances, "instance": { "securityGroups": [ … ] } is the output of: ${outputs} "Stacks[0].Outputs[?OutputKey=='${NODES_GROUP}'].OutputValue"`,
        ]
      : []),
    ...(lifecycle
      ? [
          `
The lifecycle rules delete only old versions and unfinished uploads. Temporary objects of the store (v2/projects/<project>/plan/,
doctor/, watch/ …) have the project's name in front, where S3 takes no wildcard. To remove them: npx nx-ec2 store prune --apply`,
        ]
      : []),
    ...(budget
      ? [
          `
The budget counts by the tag ${MANAGED_TAG}, once it is a cost allocation tag (Billing, Cost allocation tags: activate it;
the management account's to do in an organization; it is to be had a day after the first instance).`,
        ]
      : []),
    ...(deadline
      ? [
          `
The deadline ends what is 15 minutes past its time: look at its executions (Systems Manager, Automation) after a day.`,
        ]
      : []),
  ];
}
