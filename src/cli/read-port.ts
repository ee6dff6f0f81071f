/** The port that an option names; 0: any free one. @throws Error */
export function readPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Infinity;
  if (port > 65_535) throw new Error(`--port takes 0 to 65535, not ${text || 'an empty value'}`);
  return port;
}
