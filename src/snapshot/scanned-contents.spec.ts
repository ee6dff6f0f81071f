import { ScannedContents } from './scanned-contents';

describe('contents that a scan has read', () => {
  it('are handed out in order, each once, as they were when they were added', async () => {
    const contents = new ScannedContents();
    const waiting = contents.next();
    const block = Buffer.from('a content');
    contents.add('a', block);
    contents.add('b', Buffer.from('b content'));
    contents.add('a', Buffer.from('a content'));
    block.fill('x');
    expect(await waiting).toEqual(['a', Buffer.from('a content')]);
    expect(contents.take('a')).toBeUndefined();
    expect(await contents.next()).toEqual(['b', Buffer.from('b content')]);
    const last = contents.next();
    contents.close();
    expect(await last).toBeNull();
  });

  it('can be taken by name after the end, which nothing is added after', async () => {
    const contents = new ScannedContents();
    contents.add('a', Buffer.from('a'));
    contents.close();
    contents.add('b', Buffer.from('b'));
    expect(await contents.next()).toBeNull();
    expect(contents.take('a')).toEqual(Buffer.from('a'));
    expect(contents.take('b')).toBeUndefined();
  });

  it('take no more memory than the limit', () => {
    const contents = new ScannedContents(10);
    contents.add('a', Buffer.alloc(6));
    contents.add('b', Buffer.alloc(6));
    expect(contents.take('b')).toBeUndefined();
    contents.take('a');
    contents.add('b', Buffer.alloc(10));
    expect(contents.take('b')).toHaveLength(10);
  });
});
