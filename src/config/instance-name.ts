/** How a configuration names an instance; a tag with `all` names every one that carries it and runs. */
export type InstanceName = { id: string } | { name: string } | { tag: Record<string, string>; all?: boolean };
