export async function readSecrets(_aws: unknown, _secrets: Record<string, string>): Promise<Record<string, string>> {
  return {};
}
