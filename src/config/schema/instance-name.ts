import type { LaunchSpec } from './launch-spec';

/** One that is there; a tag with `all` names every one that carries it and runs. */
export type NamedInstance = { id: string } | { name: string } | { tag: Record<string, string>; all?: boolean };

/** Which instance a configuration selects: a named one, or the one that its launch spec describes. */
export type InstanceName = NamedInstance | { launchSpec: LaunchSpec };
