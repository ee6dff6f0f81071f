// npm run conformance: the same assertions on local AWS, or on the account that the environment names.
import { spawnSync } from 'node:child_process';

const { NX_EC2_CONFORMANCE_BUCKET: bucket, NX_EC2_CONFORMANCE_INSTANCE: instance } = process.env;
if (Boolean(bucket) !== Boolean(instance)) {
  console.error('Set both NX_EC2_CONFORMANCE_BUCKET and NX_EC2_CONFORMANCE_INSTANCE, or neither for local AWS.');
  process.exit(1);
}
console.log(
  bucket
    ? `On AWS: s3://${bucket} and ${instance}, with the credentials in force.
It costs about 300 requests to S3 (less than 0.01 USD) and the instance's own 5 minutes; Run Command is free. It
launches nothing; it writes below one random prefix and one directory in /var/tmp of the instance, and its last test
removes both and lists what is left.`
    : 'On local AWS: it costs nothing. For an account of yours, set NX_EC2_CONFORMANCE_BUCKET and NX_EC2_CONFORMANCE_INSTANCE.',
);
const { status } = spawnSync('npx', ['jest', '--config', 'e2e/jest.config.js', '--verbose', 'e2e/conformance'], {
  stdio: 'inherit',
});
process.exitCode = status ?? 1;
