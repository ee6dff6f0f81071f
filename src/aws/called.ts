/** Which call an error of the SDK's is of: AWS does not always name the permission that it missed. */
export interface Called {
  /** The IAM action. */
  action: string;
  /** S3: the ARN of the bucket or object. */
  resource: string | null;
}

const CALLED = Symbol('called');

/** S3's operations that are not called as their actions are. */
const S3: Record<string, string> = {
  HeadObject: 'GetObject',
  HeadBucket: 'ListBucket',
  ListObjectsV2: 'ListBucket',
  DeleteObjects: 'DeleteObject',
  CreateMultipartUpload: 'PutObject',
  UploadPart: 'PutObject',
  CompleteMultipartUpload: 'PutObject',
};

interface Client {
  middlewareStack: {
    add(middleware: Middleware, where: { step: 'initialize'; name: string; override: boolean }): void;
  };
}
type Middleware = (
  next: (args: { input: object }) => Promise<unknown>,
  context: { clientName?: string; commandName?: string },
) => (args: { input: object }) => Promise<unknown>;

/** Has a client's errors say of which call they are. Anything that is no client is left as it is. */
export function marksCalls<T>(client: T): T {
  const stack = (client as Client | undefined)?.middlewareStack;
  stack?.add(
    (next, context) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        if (error instanceof Error) (error as { [CALLED]?: Called })[CALLED] = called(context, args.input);
        throw error;
      }
    },
    { step: 'initialize', name: 'nx-ec2-called', override: true },
  );
  return client;
}

/** Of which call an error is; undefined for what no client has thrown. */
export function calledBy(error: unknown): Called | undefined {
  return (error as { [CALLED]?: Called } | undefined)?.[CALLED];
}

function called(
  { clientName = '', commandName = '' }: { clientName?: string; commandName?: string },
  input: object,
): Called {
  const service = clientName.replace(/Client$/, '').toLowerCase();
  const name = commandName.replace(/Command$/, '');
  const { Bucket, Key } = input as { Bucket?: string; Key?: string };
  return {
    action: `${service}:${(service === 's3' && S3[name]) || name}`,
    resource: service === 's3' && Bucket ? `arn:aws:s3:::${Bucket}${Key ? `/${Key}` : ''}` : null,
  };
}
