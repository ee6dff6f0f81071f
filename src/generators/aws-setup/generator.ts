import { formatFiles, joinPathFragments, readNxJson, writeJson, type Tree } from '@nx/devkit';
import { pluginOptions } from '../../config/configuration';
import { connectionShape } from '../../config/schema';
import { Problem } from '../../report/problem';
import init from '../init/generator';
import type { AwsSetupGeneratorSchema } from './schema';
import { INSTANCE_TAG, setupTemplate } from './template';

/** Writes the CloudFormation template and puts the bucket into nx.json; nothing is made in AWS. */
export default async function awsSetup(tree: Tree, options: AwsSetupGeneratorSchema): Promise<() => void> {
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
  await init(tree, { bucket, region: options.region });
  const known = pluginOptions(readNxJson(tree) ?? {});
  const file = joinPathFragments(directory, 'nx-ec2.template.json');
  writeJson(tree, file, setupTemplate(bucket));
  await formatFiles(tree);
  return () => {
    const region = typeof known.region === 'string' ? ` --region ${known.region}` : '';
    if (known.bucket !== bucket) {
      console.warn(`nx.json names another bucket, ${String(known.bucket)}: it was kept. The template makes ${bucket}.`);
    }
    console.log(`
Once per account and region, by somebody who may make roles:
  aws cloudformation deploy --stack-name nx-ec2 --template-file ${file} --capabilities CAPABILITY_IAM${region}
  aws cloudformation describe-stacks --stack-name nx-ec2 --query 'Stacks[0].Outputs'${region}
Then attach CallerPolicy to those who start trainings, give the instances that train InstanceProfile, and tag them:
  aws ec2 create-tags --resources i-… --tags Key=${INSTANCE_TAG},Value=train${region}`);
  };
}
