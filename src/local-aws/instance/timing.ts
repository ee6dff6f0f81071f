/** How long things take, ms. The defaults are short; what AWS needs is said where it is known. */
export interface Timing {
  /** `pending` until `running`. */
  boot: number;
  /** `running` until SSM reaches the instance: tens of seconds to minutes at AWS. */
  online: number;
  /** A new instance stays unknown to DescribeInstances: about 1,000 at AWS. */
  invisible: number;
  /** SIGTERM until SIGKILL when an instance stops, reboots or is terminated. */
  shutdown: number;
  /** SendCommand until the agent has the command: milliseconds while its channel is up, else polls of 2 to 2.5 s. */
  pickUp: number;
  /** A new command stays unknown to GetCommandInvocation and ListCommandInvocations. */
  commandInvisible: number;
  /** The agent's return from a reboot until the commands that it interrupted are Failed: about 60,000 at AWS. */
  interrupted: number;
  /** A script's exit 194 until the instance reboots: `shutdown -r +1` is 60,000. */
  requestedReboot: number;
}

export const TIMING: Timing = {
  boot: 100,
  online: 200,
  invisible: 0,
  shutdown: 2_000,
  pickUp: 5,
  commandInvisible: 20,
  interrupted: 1_000,
  requestedReboot: 1_000,
};
