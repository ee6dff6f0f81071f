import { ACCOUNT } from '../protocol/identity';
import { answerJson, jsonError, type Json } from '../protocol/json-protocol';
import type { Service, ServiceRequest, ServiceResponse } from '../protocol/service';
import { AwsError } from '../protocol/aws-error';

/** The quotas of EC2 that local AWS knows, by their codes: vCPUs. They limit nothing: EC2's `capacity` does. */
const QUOTAS: Record<string, { name: string; value: number }> = {
  'L-1216C47A': { name: 'Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances', value: 256 },
  'L-34B43A08': { name: 'All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests', value: 256 },
  'L-DB2E81BA': { name: 'Running On-Demand G and VT instances', value: 96 },
  'L-3819A6DF': { name: 'All G and VT Spot Instance Requests', value: 96 },
  'L-417A185B': { name: 'Running On-Demand P instances', value: 192 },
  'L-7212CCBC': { name: 'All P4, P3 and P2 Spot Instance Requests', value: 192 },
};

/** What the account was granted, by the codes of its quotas; a quota that is not in it has AWS's default. */
export type Quotas = Map<string, number>;

/** Service Quotas, of EC2: JSON 1.1. */
export class ServiceQuotasService implements Service {
  readonly quotas: Quotas = new Map();
  private readonly actions: Record<string, (input: Json) => Json> = {
    GetServiceQuota: (input) => {
      const { code, quota } = this.find(input);
      const value = this.quotas.get(code);
      // An account that never asked for more has no quota of its own here.
      if (value === undefined)
        throw new AwsError('NoSuchResourceException', 'The request failed because the specified quota does not exist.');
      return { Quota: this.answer(code, quota.name, value) };
    },
    GetAWSDefaultServiceQuota: (input) => {
      const { code, quota } = this.find(input);
      return { Quota: this.answer(code, quota.name, quota.value) };
    },
  };

  constructor(private readonly region: string) {}

  error(error: AwsError, requestId: string): ServiceResponse {
    return jsonError(error, requestId);
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    return answerJson(this.actions, request);
  }

  private find({ ServiceCode, QuotaCode }: Json): { code: string; quota: { name: string; value: number } } {
    const code = String(QuotaCode);
    if (ServiceCode !== 'ec2' || !Object.hasOwn(QUOTAS, code))
      throw new AwsError('NoSuchResourceException', 'The request failed because the specified quota does not exist.');
    return { code, quota: QUOTAS[code] };
  }

  private answer(code: string, name: string, value: number): Json {
    return {
      ServiceCode: 'ec2',
      ServiceName: 'Amazon Elastic Compute Cloud (Amazon EC2)',
      QuotaCode: code,
      QuotaName: name,
      Value: value,
      Unit: 'None',
      Adjustable: true,
      GlobalQuota: false,
      QuotaArn: `arn:aws:servicequotas:${this.region}:${ACCOUNT}:ec2/${code}`,
    };
  }
}
