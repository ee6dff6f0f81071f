import { hash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Aws } from '../aws/clients';
import { customEndpoint } from '../aws/endpoint-variable';
import { awsCode, awsProblem, isTransient } from '../aws/reason';
import { sdk } from '../aws/sdk';
import { CALLERS_FOLDER } from '../config/schema/schema';
import { Problem } from '../report/problem';
import { cacheSecret, keyBytes, readCachedSecret } from './run-state';
import { shellWord } from '../report/shell-words';

/** A name is at most 1,011 characters with its ARN, and has at most 15 levels. */
const MAX_PREFIX_LENGTH = 512;
const MAX_LEVELS = 10;
/** What another client has just made may not be there to be read yet: so often it is looked for, and so long after, ms. */
const MAX_ATTEMPTS = 5;
const AGAIN_MS = 200;

/** The parameter that holds a store's secret: docs/reference/formats.md, "Signed records". */
export function secretParameter(bucket: string, prefix: string): string {
  const levels = prefix.split('/');
  const asIs =
    prefix.length <= MAX_PREFIX_LENGTH &&
    levels.length <= MAX_LEVELS &&
    levels.every((level) => /^[A-Za-z0-9._-]+$/.test(level));
  const level = prefix === '' ? '' : asIs ? `${prefix}/` : `sha256-${hash('sha256', prefix, 'hex')}/`;
  // As the store's keys are: so a policy that allows callers one prefix names it here alike.
  return `${CALLERS_FOLDER}/${bucket}/${level}secret`;
}

/**
 * 32 random bytes that every caller of a store can read and no instance can: a parameter of the Parameter Store, made by
 * the first client that starts a run. This machine remembers it, so that it is asked for once.
 */
export class StoreSecret {
  readonly parameter: string;
  private reading: Promise<Buffer> | undefined;
  private readAnew = false;

  constructor(
    private readonly aws: Aws,
    bucket: string,
    prefix: string,
  ) {
    this.parameter = secretParameter(bucket, prefix);
  }

  /** Where the parameter is: region, and what stands in AWS's place. */
  async place(): Promise<string> {
    return JSON.stringify([customEndpoint('ssm') ?? '', await this.aws.region(), this.parameter]);
  }

  /** Reads it, or creates it where there is none. @throws Problem `STORE_SECRET` */
  async make(): Promise<Buffer> {
    const secret = (await this.cached()) ?? (await this.fetch()) ?? (await this.create());
    this.reading = Promise.resolve(secret);
    return secret;
  }

  /**
   * Reads it, once for many records.
   * @param refresh not what this machine remembers: the parameter may have been created again since.
   * @throws Problem `STORE_SECRET`
   */
  read(refresh = false): Promise<Buffer> {
    if (refresh && !this.readAnew) {
      this.readAnew = true;
      this.reading = undefined;
      return this.once(() => this.fetchExisting());
    }
    return this.once(async () => (await this.cached()) ?? (await this.fetchExisting()));
  }

  /** What may pass is asked again. */
  private once(ask: () => Promise<Buffer>): Promise<Buffer> {
    const reading = (this.reading ??= ask());
    reading.catch((error: Problem) => {
      if (this.reading === reading && isTransient(error.cause)) this.reading = undefined;
    });
    return reading;
  }

  private async cached(): Promise<Buffer | null> {
    return readCachedSecret([await this.place()]);
  }

  private async fetchExisting(): Promise<Buffer> {
    const secret = await this.fetch();
    if (secret) return secret;
    throw new Problem('STORE_SECRET', `The parameter ${this.parameter} does not exist in ${await this.aws.region()}.`, {
      next: 'The first remote-train or remote-submit creates it, with ssm:PutParameter. A run that was started before that, or from another region, can only be verified on the machine that started it.',
    });
  }

  /** null where there is none. */
  private async fetch(): Promise<Buffer | null> {
    const { GetParameterCommand } = sdk.ssm();
    const ssm = await this.aws.ssm();
    let value: string | undefined;
    try {
      const answer = await ssm.send(new GetParameterCommand({ Name: this.parameter, WithDecryption: true }));
      value = answer.Parameter?.Value;
    } catch (error) {
      if (awsCode(error) === 'ParameterNotFound') return null;
      throw awsProblem('STORE_SECRET', `The parameter ${this.parameter} could not be read.`, error);
    }
    const secret = keyBytes(value);
    if (!secret) {
      throw new Problem('STORE_SECRET', `The parameter ${this.parameter} does not hold 32 bytes in base64.`, {
        next: `Delete it, so that the next start creates another: aws ssm delete-parameter --name ${shellWord(this.parameter)}. Records of earlier runs can't be verified then.`,
      });
    }
    cacheSecret([await this.place()], secret);
    return secret;
  }

  private async create(): Promise<Buffer> {
    const { PutParameterCommand } = sdk.ssm();
    const ssm = await this.aws.ssm();
    const secret = randomBytes(32);
    try {
      await ssm.send(
        new PutParameterCommand({
          Name: this.parameter,
          Description: "nx-ec2: signs runs' records. Callers alone may read it, not instances.",
          Type: 'SecureString',
          Value: secret.toString('base64'),
          Overwrite: false,
        }),
      );
    } catch (error) {
      if (awsCode(error) !== 'ParameterAlreadyExists')
        throw awsProblem('STORE_SECRET', `The parameter ${this.parameter} could not be created.`, error);
      for (let tries = 1; ; tries++) {
        const made = await this.fetch();
        if (made) return made;
        if (tries === MAX_ATTEMPTS) return this.fetchExisting();
        await sleep(AGAIN_MS * tries);
      }
    }
    cacheSecret([await this.place()], secret);
    return secret;
  }
}
