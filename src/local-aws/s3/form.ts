import type { ServiceRequest } from '../protocol/service';
import { AwsError } from '../protocol/aws-error';

/** What the fields of a form before its file may have together, bytes. */
const MAX_FORM_FIELDS_BYTES = 20_000;

/** A presigned form, which says in its fields who signed it; any other request without a signature is refused. */
export function isForm({ method, query, headers }: ServiceRequest): boolean {
  const type = String(headers['content-type'] ?? '');
  return method === 'POST' && !query.has('delete') && /^multipart\/form-data\b/i.test(type);
}

/** The checksum of a form's file, as a request's headers would say it. */
export function formHeaders(fields: Map<string, string>): Record<string, string> {
  const sent = [...fields].filter(
    ([name]) => name.startsWith('x-amz-checksum-') && name !== 'x-amz-checksum-algorithm',
  );
  const algorithm = fields.get('x-amz-checksum-algorithm');
  if (algorithm && sent.length && sent[0][0] !== `x-amz-checksum-${algorithm.toLowerCase()}`)
    throw new AwsError('InvalidRequest', 'Value for x-amz-checksum-algorithm header is invalid.');
  return Object.fromEntries(sent);
}

/** @throws AwsError where it is none, or where its fields are too large. */
export function readForm(body: Buffer, boundary: string): { fields: Map<string, string>; file: Buffer } {
  const fields = new Map<string, string>();
  const mark = Buffer.from(`--${boundary}`);
  // The sender is not verified before the fields are read: no more of the body is searched for them.
  const leading = body.subarray(0, MAX_FORM_FIELDS_BYTES);
  for (let at = leading.indexOf(mark); ;) {
    const start = at + mark.length + 2;
    const head = leading.indexOf('\r\n\r\n', start);
    if (at < 0 || head < 0) throw noForm(body.length > leading.length);
    const name = /name="([^"]*)"/.exec(body.toString('utf8', start, head))?.[1] ?? '';
    const end = name === 'file' ? body.lastIndexOf(mark) : leading.indexOf(mark, head);
    if (end < 0) throw noForm(body.length > leading.length);
    const value = body.subarray(head + 4, end - 2);
    if (name === 'file') return { fields, file: value };
    fields.set(name.toLowerCase(), value.toString('utf8'));
    at = end;
  }
}

function noForm(isLarge: boolean): AwsError {
  return isLarge
    ? new AwsError('MaxPostPreDataLengthExceeded', 'Your POST request fields preceding the upload file were too large.')
    : new AwsError('MalformedPOSTRequest', 'The body of your POST request is not well-formed multipart/form-data.');
}
