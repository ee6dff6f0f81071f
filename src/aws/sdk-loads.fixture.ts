import { sdk } from './sdk';

/** Which parts of the SDK, and of what is loaded beside it, are loaded from now on, until `restore`. */
export function watchLoads(): { loaded: string[]; restore: () => void } {
  const loaded: string[] = [];
  const spies = (Object.keys(sdk) as (keyof typeof sdk)[]).map((name) => {
    const load = sdk[name];
    return jest.spyOn(sdk, name).mockImplementation((() => {
      loaded.push(name);
      return load();
    }) as never);
  });
  return { loaded, restore: () => spies.forEach((spy) => spy.mockRestore()) };
}
