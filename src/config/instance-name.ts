/** How a configuration names an instance. */
export type InstanceName = { id: string } | { name: string } | { tag: Record<string, string> };
