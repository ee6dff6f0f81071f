export type Json = Record<string, unknown>;

/** Objects of the store, whatever its prefix. */
export function stored(...names: string[]): Json[] {
  return names.flatMap((name) => ['', '*/'].map((prefix) => ({ 'Fn::Sub': `\${Bucket.Arn}/${prefix}v1/${name}` })));
}

export function policy(...statements: Json[]): Json {
  return { Version: '2012-10-17', Statement: statements };
}

/** What reading and writing encrypted objects takes; where the template has a key. */
export function kmsStatement(): Json {
  return {
    Sid: 'Key',
    Effect: 'Allow',
    Action: ['kms:GenerateDataKey', 'kms:Decrypt'],
    Resource: { Ref: 'KmsKeyArn' },
  };
}
