import type { LaunchSpec } from './launch-spec';

/** One that is there; a tag with `all` names every one that carries it and runs. */
export type NamedInstance = { id: string } | { name: string } | { tag: Record<string, string>; all?: boolean };

/** How a configuration says which instance: by a name, or by what it is to be, where one is made for the project. */
export type InstanceName = NamedInstance | { launchSpec: LaunchSpec };
