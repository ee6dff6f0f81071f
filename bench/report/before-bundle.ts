/** Processor time of `nx run model:remote-sync`, ms: of the client without what Nx takes, of the instance, and of Nx alone. */
interface ProcessorTime {
  client: number;
  instance: number;
  nx: number;
}

export type BeforeBundle = Record<'unchanged' | 'edit', ProcessorTime>;

/** Of commit a9b4675, the last before the package became one bundle. */
export const BEFORE_BUNDLE: BeforeBundle = {
  unchanged: { client: 1_136, instance: 79, nx: 1_513 },
  edit: { client: 1_176, instance: 96, nx: 1_507 },
};
