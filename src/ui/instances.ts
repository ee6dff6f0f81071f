import type { Aws } from '../aws/clients';
import { callerArn } from '../instance/describe/caller';
import { describeEnd, hourly, listInventory, type Listed } from '../instance/inventory/listing';
import { takeInventory } from '../instance/inventory/inventory';
import { sanitizeForTerminal } from '../report/terminal-text';
import { callerName } from '../run/status/status';
import type { InstanceRow, InstancesData } from './api';

export interface InstancesSource {
  aws: Aws;
}

/** What nx-ec2 launched in the account and region, found by tags alone. */
export async function listInstances({ aws }: InstancesSource): Promise<InstancesData> {
  const [region, caller, inventory] = await Promise.all([aws.region(), callerArn(aws), takeInventory(aws)]);
  const now = await aws.now();
  const made = listInventory(inventory, { caller, now });
  return { region, ...hourly(made), rows: made.map((each) => instanceRow(each, now)) };
}

function instanceRow(each: Listed, now: number): InstanceRow {
  const safe = (text: string | null) => sanitizeForTerminal(text ?? '');
  return {
    id: safe(each.id),
    kind: each.kind,
    state: safe(each.state),
    type: safe(each.type),
    market: each.market ?? '',
    isMine: each.mine,
    owner: safe(each.owner === null ? '?' : callerName(each.owner)),
    project: safe(each.project),
    run: safe(each.run),
    age: each.age,
    cost: each.cost,
    ends: describeEnd(each, now),
  };
}
