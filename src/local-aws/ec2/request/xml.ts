import { escapeXml } from '../../protocol/service';

/** A list's members are items; what is undefined is left out. */
export type Xml = string | number | boolean | undefined | Xml[] | { [name: string]: Xml };

export function writeXml(value: Xml): string {
  if (value === undefined) return '';
  if (Array.isArray(value)) return value.map((each) => `<item>${writeXml(each)}</item>`).join('');
  if (typeof value !== 'object') return escapeXml(String(value));
  return Object.entries(value)
    .map(([name, content]) => (content === undefined ? '' : `<${name}>${writeXml(content)}</${name}>`))
    .join('');
}

export function tagSet(tags: Record<string, string>): Xml {
  return Object.entries(tags).map(([key, value]) => ({ key, value }));
}

/** As EC2 words a time. @param ms since the epoch. */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString();
}
