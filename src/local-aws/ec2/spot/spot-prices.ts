import type { Action } from '../request/action';
import { INSTANCE_TYPES } from '../../catalog/instance-types';
import type { Zone } from '../../catalog/network';
import type { Form } from '../request/form';
import { page, select } from '../request/select';
import { timestamp, type Xml } from '../request/xml';

const PRODUCTS = ['Linux/UNIX', 'Linux/UNIX (Amazon VPC)'];
/** A price holds so long, ms, and is a little higher in each further zone. */
const PERIOD_MS = 6 * 3600_000;
const PRICE_STEP = 0.05;
/** As far back as the history goes, ms. */
const HISTORY_MS = 90 * 24 * 3600_000;

export function spotPriceActions(zones: Zone[]): Record<string, Action> {
  return { DescribeSpotPriceHistory: (form) => describe(form, zones) };
}

/** The newest first; with the start and the end now, the prices of now. */
function describe(form: Form, zones: Zone[]): { [name: string]: Xml } {
  const now = Date.now();
  const end = Math.min(form.time('EndTime') ?? now, now);
  const start = Math.min(Math.max(form.time('StartTime') ?? now - HISTORY_MS, now - HISTORY_MS), end);
  const types = form.list('InstanceType');
  const products = form.list('ProductDescription');
  const zone = form.text('AvailabilityZone');
  const rows: { availabilityZone: string; instanceType: string; spotPrice: string; timestamp: string }[] = [];
  // What held at the start was set before it.
  for (let period = Math.floor(end / PERIOD_MS); period >= Math.floor(start / PERIOD_MS); period--)
    for (const type of INSTANCE_TYPES.filter(({ name }) => !types.length || types.includes(name)))
      for (const [index, { name }] of zones.entries()) {
        if (type.zones !== undefined && !type.zones.includes(name.slice(-1))) continue;
        rows.push({
          availabilityZone: name,
          instanceType: type.name,
          spotPrice: (type.spotPrice * (1 + index * PRICE_STEP)).toFixed(6),
          timestamp: timestamp(period * PERIOD_MS),
        });
      }
  const wanted = rows.filter(({ availabilityZone }) => zone === undefined || availabilityZone === zone);
  const found = select(form, products.length && !products.some((each) => PRODUCTS.includes(each)) ? [] : wanted, {
    'availability-zone': (each) => each.availabilityZone,
    'instance-type': (each) => each.instanceType,
    'product-description': () => PRODUCTS,
    'spot-price': (each) => each.spotPrice,
  });
  const { rows: told, nextToken } = page(form, found);
  return {
    spotPriceHistorySet: told.map((each) => ({ ...each, productDescription: PRODUCTS[0] })),
    nextToken: nextToken ?? '',
  };
}
