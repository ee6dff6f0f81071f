import { address, permissions } from './s3/permission';
import type { ServiceRequest } from './protocol/service';

/** A request that somebody signed, as IAM sees it. */
export interface Call {
  service: string;
  /** The IAM action, e.g. `s3:PutObject`. */
  action: string;
  /** ARN of who signed: of a presigned URL or form, whoever made it. */
  principal: string;
  /** The instance whose role it was. */
  instance?: string;
  /** S3: the ARN of the bucket or object. */
  resource?: string;
  /** Refused for a permission that is missing. */
  denied: boolean;
}

const DENIED = /^(AccessDenied(Exception)?|UnauthorizedOperation|AuthFailure\.ServiceLinkedRoleCreationNotPermitted)$/;

/** The calls that were answered, in the order of their answers. */
export class Calls {
  private readonly answered: Call[] = [];

  /**
   * @param name of the API's action.
   * @param code of the error that answered it.
   */
  add(service: string, name: string, request: ServiceRequest, code?: string): void {
    if (!request.identity) return;
    const { arn: principal, instance } = request.identity;
    const about = { service, principal, instance, denied: code !== undefined && DENIED.test(code) };
    if (service !== 's3') return void this.answered.push({ ...about, action: `${service}:${name}` });
    const { bucket, key } = address(request);
    const resource = bucket ? `arn:aws:s3:::${bucket}${key && `/${key}`}` : undefined;
    for (const action of permissions(request, bucket, key)) this.answered.push({ ...about, action, resource });
  }

  all(): readonly Call[] {
    return this.answered;
  }

  clear(): void {
    this.answered.length = 0;
  }
}
