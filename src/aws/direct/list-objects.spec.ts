import { parseListObjects } from './list-objects';

const listed = (text: string) =>
  `<?xml version="1.0"?>\n<ListBucketResult xmlns="http://s3">${text}</ListBucketResult>`;

describe('a list of objects', () => {
  it('has the keys as they are, whatever XML has to escape, and knows the end of its page', () => {
    const object = `<Contents><Key>a&amp;b &lt;&#13;&#x1F600;&gt;</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size></Contents>`;
    const page = `<Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>1&amp;2</NextContinuationToken>`;
    expect(parseListObjects(listed(`${page}${object}<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>`))).toEqual({
      Contents: [{ Key: 'a&b <\r😀>', ETag: '"e"', Size: 7, LastModified: new Date('2026-01-02T03:04:05Z') }],
      CommonPrefixes: [{ Prefix: 'd/' }],
      IsTruncated: true,
      NextContinuationToken: '1&2',
    });
    expect(parseListObjects(listed('<KeyCount>0</KeyCount>'))).toMatchObject({ Contents: [], IsTruncated: false });
  });

  it.each([
    ['nothing', ''],
    ['another answer', '<Error><Code>NoSuchBucket</Code></Error>'],
    ['a list that is cut off', '<ListBucketResult><Name>b</Name><Contents><Key>a</Key></Contents>'],
    ['a list that says nothing of itself', listed('')],
    ['a part without the way to the next', listed('<Name>b</Name><IsTruncated>true</IsTruncated>')],
    ['an entity that XML does not define', listed('<Name>b</Name><Contents><Key>&nbsp;</Key></Contents>')],
    ['text that is not escaped', listed('<Name>b</Name><Contents><Key><![CDATA[a]]></Key></Contents>')],
  ])('is not %s', (_, xml) => {
    expect(() => parseListObjects(xml)).toThrow();
  });
});
