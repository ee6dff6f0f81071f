import type { InstancesData } from '../api';
import { useAnswer } from './api-client';
import { formatCost, formatDuration } from './format';
import { Command, Loading, TroubleNote } from './parts';
import { runLink } from './route';

const REFRESH_MS = 30_000;
const RUN = /^\d{8}-\d{6}-[a-z0-9-]{1,40}-[a-z2-7]{6}$/;

/** What nx-ec2 launched, and what will end it. */
export function InstancesPage() {
  const { data, trouble } = useAnswer<InstancesData>('instances', {}, REFRESH_MS);
  return (
    <>
      <h2>Instances{data && ` in ${data.region}`}</h2>
      <TroubleNote trouble={trouble} what="The instances can't be listed." />
      {!data && !trouble && <Loading />}
      {data && data.rows.length === 0 && <p class="note">nx-ec2 has launched nothing that is still there.</p>}
      {data && data.rows.length > 0 && (
        <>
          <p class="note">
            {formatCost(data.perHour)} an hour in all
            {data.unknown > 0 && `, and ${data.unknown} of unknown price`}, without disks.
          </p>
          <InstanceTable data={data} />
        </>
      )}
      <h3>Commands</h3>
      <Command title="List what has expired" command="npx nx-ec2 instances clean" />
    </>
  );
}

function InstanceTable({ data }: { data: InstancesData }) {
  const heads = ['Id', 'State', 'Type', 'Owner', 'Project', 'Run', 'Age', 'Cost', 'Ends'];
  return (
    <div class="scroll">
      <table>
        <caption class="unseen">Instances and other resources</caption>
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.rows.map((row) => (
            <tr key={row.id}>
              <th scope="row">{row.id}</th>
              <td>{row.state}</td>
              <td>{row.kind === 'instance' ? [row.type, row.market].filter(Boolean).join(', ') : row.kind}</td>
              <td>{row.isMine ? `${row.owner} (you)` : row.owner}</td>
              <td>{row.project}</td>
              <td>
                {RUN.test(row.run) && row.project ? <a href={runLink(row.project, row.run)}>{row.run}</a> : row.run}
              </td>
              <td class="number">{formatDuration(row.age)}</td>
              <td class="number">{formatCost(row.cost)}</td>
              <td>{row.ends}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
