/** Whether a URL names this machine itself: `localhost`, a name below it, 127.0.0.0/8 or ::1. */
export function isLoopback(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { hostname } = new URL(url);
  return /(^|\.)localhost$/.test(hostname) || /^127(\.\d{1,3}){3}$/.test(hostname) || hostname === '[::1]';
}
