import type { Fleet, FleetEvent } from './fleet';
import type { Form } from '../request/form';
import { timestamp, type Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

/** What is kept of a fleet's past. */
const MAX_HISTORY_EVENTS = 200;

/** Writes down what happened; what happens again and again is told once. */
export function note(fleet: Fleet, event: Omit<FleetEvent, 'at'>): void {
  const same = ({ type, subType, description, instance }: FleetEvent) =>
    type === event.type &&
    subType === event.subType &&
    description === event.description &&
    instance === event.instance;
  const since = fleet.events.findLastIndex(({ type }) => type !== 'service-error');
  if (fleet.events.slice(since + 1).some(same)) return;
  fleet.events = [...fleet.events, { at: Date.now(), ...event }].slice(-MAX_HISTORY_EVENTS);
}

/**
 * DescribeFleetHistory. Which events and words EC2 has for a lack of capacity is not established: here it is a
 * `service-error` by the code and the message that the launch was refused with.
 */
export function historyXml(form: Form, fleet: Fleet): { [name: string]: Xml } {
  const start = Date.parse(form.required('StartTime'));
  if (Number.isNaN(start)) throw new AwsError('InvalidParameterValue', 'Invalid value for StartTime.');
  const wanted = form.text('EventType');
  const events = fleet.events.filter(({ at, type }) => at >= start && (wanted === undefined || wanted === type));
  return {
    fleetId: fleet.id,
    startTime: timestamp(start),
    lastEvaluatedTime: timestamp(Date.now()),
    historyRecordSet: events.map(({ at, type, subType, description, instance }) => ({
      timestamp: timestamp(at),
      eventType: type,
      eventInformation: { eventDescription: description, eventSubType: subType, instanceId: instance },
    })),
  };
}
