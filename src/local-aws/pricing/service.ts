import { INSTANCE_TYPES, onDemandPrice, VOLUME_PRICE } from '../catalog/instance-types';
import { answerJson, jsonError, type Json } from '../protocol/json-protocol';
import type { Service, ServiceRequest, ServiceResponse } from '../protocol/service';
import { AwsError } from '../protocol/aws-error';

interface Product {
  family: string;
  attributes: Record<string, string>;
  unit: string;
  /** USD. */
  price: number;
}

/**
 * The price list: JSON 1.1. It knows its own region alone, and of EC2 what Linux instances and gp3 volumes cost. A field
 * that no product has matches none; what the real one says to it is not established.
 */
export class PricingService implements Service {
  private readonly products: Product[];
  private readonly actions: Record<string, (input: Json) => Json> = { GetProducts: (input) => this.find(input) };

  constructor(private readonly region: string) {
    const regionCode = region;
    this.products = [
      ...INSTANCE_TYPES.map((each) => ({
        family: 'Compute Instance',
        attributes: {
          servicecode: 'AmazonEC2',
          instanceType: each.name,
          regionCode,
          operatingSystem: 'Linux',
          tenancy: 'Shared',
          preInstalledSw: 'NA',
          capacitystatus: 'Used',
          marketoption: 'OnDemand',
          vcpu: String(each.cpus),
          memory: `${each.memory / 1024} GiB`,
          operation: 'RunInstances',
        },
        unit: 'Hrs',
        price: onDemandPrice(each),
      })),
      {
        family: 'Storage',
        attributes: { servicecode: 'AmazonEC2', regionCode, volumeApiName: 'gp3', volumeType: 'General Purpose' },
        unit: 'GB-Mo',
        price: VOLUME_PRICE,
      },
    ];
  }

  error(error: AwsError, requestId: string): ServiceResponse {
    return jsonError(error, requestId);
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    return answerJson(this.actions, request);
  }

  private find({ ServiceCode, Filters = [], MaxResults = 100, NextToken }: Json): Json {
    if (ServiceCode !== 'AmazonEC2')
      throw new AwsError('NotFoundException', `Local AWS has no prices of ${String(ServiceCode)}.`);
    const filters = Filters as { Type: string; Field: string; Value: string }[];
    const unknown = filters.find(({ Type }) => Type !== 'TERM_MATCH');
    if (unknown) throw new AwsError('InvalidParameterException', `Local AWS has no filters of type ${unknown.Type}.`);
    const found = this.products.filter(({ family, attributes }) =>
      filters.every(({ Field, Value }) => (Field === 'productFamily' ? family : attributes[Field]) === Value),
    );
    const from = Number(NextToken ?? 0);
    const to = from + Number(MaxResults);
    return {
      FormatVersion: 'aws_v1',
      PriceList: found.slice(from, to).map((each) => JSON.stringify(listed(each, this.region))),
      ...(to < found.length ? { NextToken: String(to) } : {}),
    };
  }
}

/** As the price list words a product. */
function listed({ family, attributes, unit, price }: Product, region: string): Json {
  const sku = Buffer.from(`${region} ${attributes.instanceType ?? attributes.volumeApiName}`)
    .toString('hex')
    .toUpperCase()
    .slice(-16);
  const [term, rate] = [`${sku}.JRTCKXETXF`, `${sku}.JRTCKXETXF.6YS6EN2CT7`];
  return {
    product: { sku, productFamily: family, attributes },
    serviceCode: 'AmazonEC2',
    terms: {
      OnDemand: {
        [term]: {
          sku,
          offerTermCode: 'JRTCKXETXF',
          effectiveDate: '2024-10-01T00:00:00Z',
          termAttributes: {},
          priceDimensions: {
            [rate]: {
              rateCode: rate,
              unit,
              beginRange: '0',
              endRange: 'Inf',
              appliesTo: [],
              description: `$${price} per ${unit}`,
              pricePerUnit: { USD: price.toFixed(10) },
            },
          },
        },
      },
    },
    version: '20241001000000',
    publicationDate: '2024-10-01T00:00:00Z',
  };
}
