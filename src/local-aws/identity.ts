/** Who signs: what a signature is verified with, and what an answer says of the caller. */
export interface Identity {
  accessKeyId: string;
  secretAccessKey: string;
  arn: string;
  /** Actions that are denied, e.g. `s3:ListBucket`. */
  deny?: string[];
}

export const ACCOUNT = '000000000000';

/** The one that everyone may use: local AWS listens on loopback only. */
export const LOCAL_IDENTITY: Identity = {
  accessKeyId: 'AKIALOCALLOCALLOCAL1',
  secretAccessKey: 'local-aws-is-on-loopback-only-and-not-secret',
  arn: `arn:aws:iam::${ACCOUNT}:user/local`,
};
