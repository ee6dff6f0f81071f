/**
 * Whether a text can be the id of a region. One that comes from a configuration or an answer becomes part of a host's
 * name, to which signed requests go.
 */
export function isRegionId(text: string): boolean {
  return /^[a-z0-9-]{1,40}$/.test(text);
}
