import type { Aws } from '../../aws/clients';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { assertProfile } from './assert-profile';
import { assertEfa } from './efa';
import { imagesOf, type Image } from './image';
import { placements, type LaunchOption } from './launch-options';
import { machineTypes, type MachineType } from './machine-type';
import { reservationOf, reservedOptions, type Reservation } from './reservation';

/** What AWS says of what a launch spec names. */
export interface LaunchInputs {
  /** By their names. */
  types: Map<string, MachineType>;
  /** By the names of the types. */
  images: Map<string, Image>;
  options: LaunchOption[];
  reservation: Reservation | null;
}

/** @throws Problem for the first of it that does not exist, or does not fit the rest. */
export async function launchInputs(aws: Aws, launchSpec: LaunchSpec, signal?: AbortSignal): Promise<LaunchInputs> {
  await assertProfile(aws, launchSpec, signal);
  const types = await machineTypes(aws, launchSpec.types, signal);
  assertEfa(launchSpec, types);
  const [images, options, reservation] = await Promise.all([
    imagesOf(aws, launchSpec.ami, types, signal),
    placements(aws, launchSpec, signal),
    reservationOf(aws, launchSpec, signal),
  ]);
  return {
    types: new Map(types.map((type) => [type.name, type])),
    images,
    options: reservedOptions(reservation, options),
    reservation,
  };
}
