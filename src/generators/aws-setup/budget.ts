import { MANAGED_TAG } from '../../aws/permissions/statement';
import type { Json } from './render';

/** Tells somebody when what nx-ec2 has made costs much: at 80 % of so many USD a month, and when it is expected to cost all of it. */
export function budgetResources({ usd, email }: { usd: number; email: string }): Json {
  const tell = (type: 'ACTUAL' | 'FORECASTED', threshold: number) => ({
    Notification: {
      NotificationType: type,
      ComparisonOperator: 'GREATER_THAN',
      Threshold: threshold,
      ThresholdType: 'PERCENTAGE',
    },
    Subscribers: [{ SubscriptionType: 'EMAIL', Address: email }],
  });
  return {
    Budget: {
      Type: 'AWS::Budgets::Budget',
      Properties: {
        Budget: {
          BudgetType: 'COST',
          TimeUnit: 'MONTHLY',
          BudgetLimit: { Amount: usd, Unit: 'USD' },
          CostFilters: { TagKeyValue: [`user:${MANAGED_TAG}$true`] },
        },
        NotificationsWithSubscribers: [tell('ACTUAL', 80), tell('FORECASTED', 100)],
      },
    },
  };
}
