import { AwsError } from './aws-error';

/**
 * Decodes a percent-encoded part of a request's address.
 * @throws AwsError `InvalidURI`, as S3 answers, for a sequence that is no character.
 */
export function decodeUri(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new AwsError('InvalidURI', "Couldn't parse the specified URI.", 400);
  }
}
