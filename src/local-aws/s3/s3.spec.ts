import { createHash, createHmac } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  ChecksumAlgorithm,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { createPresignedPost } from '@aws-sdk/s3-presigned-post';
import fc from 'fast-check';
import { LOCAL_IDENTITY } from '../protocol/identity';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { crc32c, crc64Nvme } from './crc';

const Bucket = 'bucket';
const KEYLESS = { ...LOCAL_IDENTITY, accessKeyId: 'AKIAWITHOUTLISTBUCK', deny: ['s3:ListBucket'] };

describe('S3', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ identities: [KEYLESS] });
  });
  afterAll(() => at.close());

  const put = (Key: string, Body: string | Buffer, more: object = {}) =>
    at.s3.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
  const text = async (Key: string, more: object = {}) =>
    (await at.s3.send(new GetObjectCommand({ Bucket, Key, ...more }))).Body!.transformToString();

  it('returns and lists an object under any key', async () => {
    const key = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
      .filter((each) => !/(^|\/)\.{1,2}(\/|$)/.test(each));
    await fc.assert(
      fc.asyncProperty(key, fc.uint8Array({ maxLength: 100 }), async (Key, bytes) => {
        await put(`any/${Key}`, Buffer.from(bytes));
        const got = await at.s3.send(new GetObjectCommand({ Bucket, Key: `any/${Key}` }));
        expect(Buffer.from(await got.Body!.transformToByteArray())).toEqual(Buffer.from(bytes));
        const listed = await at.s3.send(new ListObjectsV2Command({ Bucket, Prefix: `any/${Key}` }));
        expect(listed.Contents!.map((each) => each.Key)).toContain(`any/${Key}`);
      }),
      { numRuns: 60 },
    );
  });

  it('honors the conditions of a write', async () => {
    const { ETag } = await put('conditional', 'one', { IfNoneMatch: '*' });
    expect(await refusal(put('conditional', 'two', { IfNoneMatch: '*' }))).toBe('PreconditionFailed 412');
    await put('conditional', 'three', { IfMatch: ETag });
    expect(await refusal(put('conditional', 'four', { IfMatch: ETag }))).toBe('PreconditionFailed 412');
    expect(await refusal(put('never', 'x', { IfMatch: ETag }))).toBe('NoSuchKey 404');
    expect(await text('conditional')).toBe('three');
  });

  it('honors the conditions of a read', async () => {
    const { ETag } = await put('changing', 'one');
    const unless = (IfNoneMatch?: string) => at.s3.send(new GetObjectCommand({ Bucket, Key: 'changing', IfNoneMatch }));
    await expect(unless(ETag)).rejects.toMatchObject({ $metadata: { httpStatusCode: 304 } });
    await put('changing', 'two');
    expect(await (await unless(ETag)).Body!.transformToString()).toBe('two');
  });

  it.each(Object.values(ChecksumAlgorithm).filter((each) => /^(CRC|SHA1$|SHA256$)/.test(each)))(
    'takes a %s that is right and no other',
    async (algorithm) => {
      await put('checked', 'content', { ChecksumAlgorithm: algorithm });
      expect(await text('checked', { ChecksumMode: 'ENABLED' })).toBe('content');
      const wrong = {
        [`Checksum${algorithm}`]: Buffer.alloc(
          algorithm === 'SHA256' ? 32 : algorithm === 'SHA1' ? 20 : algorithm === 'CRC64NVME' ? 8 : 4,
        ).toString('base64'),
      };
      expect(await refusal(put('checked', 'other', wrong))).toBe('BadDigest 400');
      expect(await text('checked')).toBe('content');
    },
  );

  it('computes CRC-32C and CRC-64/NVME as published', () => {
    // The check values of "123456789": reveng.sourceforge.io/crc-catalog.
    expect(crc32c(Buffer.from('123456789')).toString('hex')).toBe('e3069283');
    expect(crc64Nvme(Buffer.from('123456789')).toString('hex')).toBe('ae8b14860a799888');
  });

  it('answers 404 for an absent key, and 403 to callers who may not list', async () => {
    expect(await refusal(text('absent'))).toBe('NoSuchKey 404');
    const stranger = new S3Client({
      ...at.clientOptions,
      forcePathStyle: true,
      credentials: { ...at.clientOptions.credentials, accessKeyId: KEYLESS.accessKeyId },
    });
    expect(await refusal(stranger.send(new GetObjectCommand({ Bucket, Key: 'absent' })))).toBe('AccessDenied 403');
    expect(await refusal(stranger.send(new ListObjectsV2Command({ Bucket })))).toBe('AccessDenied 403');
  });

  it('lists common prefixes over several pages, each once', async () => {
    for (let n = 0; n < 5; n++) for (const name of ['a', 'b']) await put(`pages/${n}/${name}`, 'x');
    await put('pages/1-file', 'x');
    const found: string[] = [];
    let token: string | undefined;
    do {
      const page = await at.s3.send(
        new ListObjectsV2Command({ Bucket, Prefix: 'pages/', Delimiter: '/', MaxKeys: 2, ContinuationToken: token }),
      );
      found.push(
        ...(page.CommonPrefixes ?? []).map((each) => each.Prefix!),
        ...(page.Contents ?? []).map((each) => each.Key!),
      );
      token = page.NextContinuationToken;
    } while (token);
    expect(found.sort()).toEqual(['pages/0/', 'pages/1-file', 'pages/1/', 'pages/2/', 'pages/3/', 'pages/4/']);
  });

  it('reads ranges', async () => {
    await put('range', '0123456789');
    expect(await text('range', { Range: 'bytes=2-4' })).toBe('234');
    expect(await text('range', { Range: 'bytes=7-' })).toBe('789');
    expect(await text('range', { Range: 'bytes=-2' })).toBe('89');
    expect(await refusal(text('range', { Range: 'bytes=10-' }))).toBe('InvalidRange 416');
  });

  it('names the region of a bucket, and refuses a signature for another', async () => {
    expect((await at.s3.send(new HeadBucketCommand({ Bucket }))).BucketRegion).toBe('eu-west-1');
    const elsewhere = new S3Client({ ...at.clientOptions, forcePathStyle: true, region: 'us-east-1' });
    const error = await elsewhere.send(new ListObjectsV2Command({ Bucket })).catch((reason) => reason);
    expect(error).toMatchObject({
      name: 'AuthorizationHeaderMalformed',
      $response: { headers: { 'x-amz-bucket-region': 'eu-west-1' } },
    });
  });

  it('refuses an unexpected bucket owner, an absent bucket, and creating an existing one', async () => {
    expect(await refusal(put('x', 'x', { ExpectedBucketOwner: '111111111111' }))).toBe('AccessDenied 403');
    expect(await refusal(at.s3.send(new GetObjectCommand({ Bucket: 'nowhere', Key: 'x' })))).toBe('NoSuchBucket 404');
    expect(await refusal(at.s3.send(new CreateBucketCommand({ Bucket })))).toBe('BucketAlreadyOwnedByYou 409');
    await put('keeps it', 'x');
    expect(await refusal(at.s3.send(new DeleteBucketCommand({ Bucket })))).toBe('BucketNotEmpty 409');
  });

  it('copies an object with its metadata or with new metadata', async () => {
    await put('from \u00fc', 'content', { Metadata: { a: '1' } });
    const CopySource = `bucket/${encodeURIComponent('from \u00fc')}`;
    await at.s3.send(new CopyObjectCommand({ Bucket, Key: 'to', CopySource }));
    const head = () => at.s3.send(new HeadObjectCommand({ Bucket, Key: 'to' }));
    expect(await head()).toMatchObject({ ContentLength: 7, Metadata: { a: '1' } });
    await at.s3.send(
      new CopyObjectCommand({ Bucket, Key: 'to', CopySource, MetadataDirective: 'REPLACE', Metadata: { b: '2' } }),
    );
    expect((await head()).Metadata).toEqual({ b: '2' });
  });

  it("can be reached at the bucket's own host name", async () => {
    const virtual = new S3Client({ ...at.clientOptions, endpoint: at.aws.url.replace('127.0.0.1', 'localhost') });
    await put('virtual', 'content');
    const url = new URL(at.aws.url);
    const answer = await fetch(`${url.origin}/virtual`, { headers: { host: `bucket.localhost:${url.port}` } });
    expect(answer.status).toBe(403);
    virtual.destroy();
  });

  describe('multipart', () => {
    const part = Buffer.alloc(5 << 20, 'p');
    const begin = async (Key: string) =>
      (await at.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }))).UploadId!;
    const send = (Key: string, UploadId: string, PartNumber: number, Body: Buffer) =>
      at.s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }));
    const complete = (Key: string, UploadId: string, parts: [number, string][], more: object = {}) =>
      at.s3.send(
        new CompleteMultipartUploadCommand({
          Bucket,
          Key,
          UploadId,
          MultipartUpload: { Parts: parts.map(([PartNumber, ETag]) => ({ PartNumber, ETag })) },
          ...more,
        }),
      );

    it('joins the parts, with the ETag of S3', async () => {
      const id = await begin('joined');
      const one = (await send('joined', id, 1, part)).ETag!;
      await send('joined', id, 2, Buffer.from('first'));
      const two = (await send('joined', id, 2, Buffer.from('end'))).ETag!;
      expect((await at.s3.send(new ListPartsCommand({ Bucket, Key: 'joined', UploadId: id }))).Parts).toMatchObject([
        { PartNumber: 1, Size: part.length, ETag: one },
        { PartNumber: 2, Size: 3, ETag: two },
      ]);
      const md5 = (data: Buffer) => createHash('md5').update(data).digest();
      const { ETag } = await complete('joined', id, [
        [1, one],
        [2, two],
      ]);
      expect(ETag).toBe(`"${md5(Buffer.concat([md5(part), md5(Buffer.from('end'))])).toString('hex')}-2"`);
      expect(await text('joined', { Range: `bytes=${part.length - 1}-` })).toBe('pend');
    });

    it('refuses a small part in the middle, a wrong order, an absent part, and a finished upload', async () => {
      const id = await begin('refused');
      const small = (await send('refused', id, 1, Buffer.from('x'))).ETag!;
      const last = (await send('refused', id, 2, Buffer.from('y'))).ETag!;
      expect(
        await refusal(
          complete('refused', id, [
            [1, small],
            [2, last],
          ]),
        ),
      ).toBe('EntityTooSmall 400');
      expect(
        await refusal(
          complete('refused', id, [
            [2, last],
            [1, small],
          ]),
        ),
      ).toMatch(/^(InvalidPartOrder|EntityTooSmall) 400$/);
      expect(await refusal(complete('refused', id, [[3, last]]))).toBe('InvalidPart 400');
      expect(await refusal(send('another', id, 1, part))).toBe('NoSuchUpload 404');
      await at.s3.send(new AbortMultipartUploadCommand({ Bucket, Key: 'refused', UploadId: id }));
      expect(await refusal(send('refused', id, 1, part))).toBe('NoSuchUpload 404');
    });

    it('continues after a restart', async () => {
      const id = await begin('resumed');
      const { ETag } = await send('resumed', id, 1, part);
      await at.aws.close();
      const { directory } = at;
      at = await startFixture({ directory, identities: [KEYLESS] });
      expect((await at.s3.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads).toMatchObject([
        { Key: 'resumed', UploadId: id },
      ]);
      const { ETag: last } = await send('resumed', id, 2, Buffer.from('end'));
      await complete('resumed', id, [
        [1, ETag!],
        [2, last!],
      ]);
      expect(await text('resumed', { Range: 'bytes=-3' })).toBe('end');
    });
  });

  describe('a presigned form', () => {
    const post = async (fields: Record<string, string>, body = 'content', more: object = {}) => {
      const made = await createPresignedPost(at.s3, { Bucket, Key: 'form/${filename}', Expires: 60, ...more });
      const form = new FormData();
      for (const [name, value] of Object.entries({ ...made.fields, ...fields })) form.set(name, value);
      form.set('file', new Blob([body]), 'x');
      const answer = await fetch(made.url, { method: 'POST', body: form });
      return `${answer.status} ${/<Code>(.*)<\/Code>/.exec(await answer.text())?.[1] ?? ''}`.trim();
    };

    it('is for the bucket of its policy, with or without a field for it', async () => {
      await at.s3.send(new CreateBucketCommand({ Bucket: 'form-other' }));
      const { url, fields } = await createPresignedPost(at.s3, { Bucket, Key: 'form/bucket', Expires: 60 });
      const send = async (to: string, given: Record<string, string>) => {
        const form = new FormData();
        for (const [name, value] of Object.entries(given)) form.set(name, value);
        form.set('file', new Blob(['content']), 'x');
        return (await fetch(to, { method: 'POST', body: form })).status;
      };
      // As boto3 makes it: the policy has a condition on the bucket, and no field says it.
      const { bucket: _, ...unnamed } = fields as Record<string, string>;
      expect(await send(url, unnamed)).toBe(204);
      expect(await send(url, fields)).toBe(204);
      const elsewhere = url.replace(`/${Bucket}`, '/form-other');
      expect(elsewhere).not.toBe(url);
      expect(await send(elsewhere, unnamed)).toBe(403);
      expect(await send(elsewhere, { ...unnamed, bucket: Bucket })).toBe(403);
    });

    it('can be signed with Signature Version 2, as boto3 does for another endpoint', async () => {
      const { accessKeyId, secretAccessKey } = at.clientOptions.credentials;
      const policy = Buffer.from(
        JSON.stringify({
          expiration: new Date(Date.now() + 60_000).toISOString(),
          conditions: [{ bucket: Bucket }, { key: 'form/v2' }],
        }),
      ).toString('base64');
      const signature = createHmac('sha1', secretAccessKey).update(policy).digest('base64');
      const send = async (given: Record<string, string>) => {
        const form = new FormData();
        for (const [name, value] of Object.entries({ key: 'form/v2', AWSAccessKeyId: accessKeyId, policy, ...given }))
          form.set(name, value);
        form.set('file', new Blob(['content']), 'x');
        return (await fetch(`${at.clientOptions.endpoint}/${Bucket}`, { method: 'POST', body: form })).status;
      };
      expect(await send({ signature })).toBe(204);
      expect(await text('form/v2')).toBe('content');
      expect(await send({ signature: signature.replace(/^./, (first) => (first === 'A' ? 'B' : 'A')) })).toBe(403);
      expect(await send({})).toBe(403);
      expect(await send({ signature, AWSAccessKeyId: 'AKIANOBODY' })).toBe(403);
    });

    it('is the only request without a signature that is answered', async () => {
      await put('unsigned', 'content');
      const xml = '<Delete><Object><Key>unsigned</Key></Object></Delete>';
      const form = new FormData();
      form.set('file', new Blob([xml]));
      for (const path of ['', `${Bucket}?delete`, Bucket, `${Bucket}/unsigned`, `${Bucket}?uploads`])
        for (const body of [xml, form]) {
          const answer = await fetch(`${at.aws.url}/${path}`, { method: 'POST', body });
          expect([path, answer.status >= 400]).toEqual([path, true]);
        }
      expect(await text('unsigned')).toBe('content');
    });

    it('accepts only what its policy allows', async () => {
      expect(await post({ key: 'form/one' })).toBe('204');
      expect(await text('form/one')).toBe('content');
      expect(await post({ key: 'elsewhere' })).toBe('403 AccessDenied');
      expect(await post({ key: 'form/two', 'x-amz-meta-more': '1' })).toBe('403 AccessDenied');
      expect(await post({ key: 'form/two', 'x-amz-signature': '0'.repeat(64) })).toBe('403 SignatureDoesNotMatch');
      expect(await post({ key: 'form/two' }, 'content', { Expires: -1 })).toBe('403 AccessDenied');
      const Conditions = [['content-length-range', 1, 4]];
      expect(await post({ key: 'form/two' }, 'content', { Conditions })).toBe('400 EntityTooLarge');
    });

    it('checks a checksum, and requires the fields that its policy names', async () => {
      const Conditions = [['starts-with', '$x-amz-checksum-sha256', '']];
      const more = { Conditions, Fields: { 'x-amz-checksum-algorithm': 'SHA256' } };
      const sum = (data: string) => ({ 'x-amz-checksum-sha256': createHash('sha256').update(data).digest('base64') });
      expect(await post({ key: 'form/sum', ...sum('content') }, 'content', more)).toBe('204');
      expect(
        await at.s3.send(new HeadObjectCommand({ Bucket, Key: 'form/sum', ChecksumMode: 'ENABLED' })),
      ).toMatchObject({ ChecksumSHA256: sum('content')['x-amz-checksum-sha256'] });
      expect(await post({ key: 'form/sum', ...sum('other') }, 'content', more)).toBe('400 BadDigest');
      expect(await post({ key: 'form/sum' }, 'content', more)).toBe('403 AccessDenied');
      expect(await post({ key: 'form/sum', ...sum('content') }, 'content')).toBe('403 AccessDenied');
    });
  });

  describe('a body in signed chunks', () => {
    const send = async (spoil: (chunk: string) => string = (chunk) => chunk) => {
      const host = new URL(at.aws.url).host;
      const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
      const scope = `${date.slice(0, 8)}/eu-west-1/s3/aws4_request`;
      const declared = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
      const hmac = (key: Buffer | string, data: string) => createHmac('sha256', key).update(data).digest();
      const sha = (data: string) => createHash('sha256').update(data).digest('hex');
      const key = scope
        .split('/')
        .reduce<Buffer | string>(
          (secret, each) => hmac(secret, each),
          `AWS4${at.clientOptions.credentials.secretAccessKey}`,
        );
      const signed: Record<string, string> = {
        host,
        'x-amz-content-sha256': declared,
        'x-amz-date': date,
        'x-amz-decoded-content-length': '10',
      };
      const canonical = [
        'PUT',
        '/bucket/chunked',
        '',
        ...Object.entries(signed).map((pair) => pair.join(':')),
        '',
        Object.keys(signed).join(';'),
        declared,
      ].join('\n');
      let previous = hmac(key, ['AWS4-HMAC-SHA256', date, scope, sha(canonical)].join('\n')).toString('hex');
      const authorization = `AWS4-HMAC-SHA256 Credential=${LOCAL_IDENTITY.accessKeyId}/${scope}, SignedHeaders=${Object.keys(signed).join(';')}, Signature=${previous}`;
      let body = '';
      for (const chunk of ['01234', '56789', '']) {
        previous = hmac(
          key,
          ['AWS4-HMAC-SHA256-PAYLOAD', date, scope, previous, sha(''), sha(chunk)].join('\n'),
        ).toString('hex');
        body += `${chunk.length.toString(16)};chunk-signature=${previous}\r\n${spoil(chunk)}\r\n`;
      }
      const { host: _, ...headers } = signed;
      const answer = await fetch(`${at.aws.url}/bucket/chunked`, {
        method: 'PUT',
        headers: { ...headers, authorization },
        body,
      });
      return answer.status;
    };

    it('is accepted only if the signature of each chunk is right', async () => {
      expect(await send()).toBe(200);
      expect(await text('chunked')).toBe('0123456789');
      expect(await send((chunk) => chunk.replace('7', 'x'))).toBe(403);
      expect(await text('chunked')).toBe('0123456789');
    });
  });
});
