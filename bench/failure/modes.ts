/** One way a run can go. */
export interface FailureMode {
  readonly name: string
  /** 1 % of the keys fail from their first message on, and 1 % of the other messages fail once. */
  readonly fails: 'never' | 'before the effect' | 'after the effect'
  /** One key has 30 % of the messages. */
  readonly hotKey: boolean
  /** What fails goes to a topic, and nothing waits behind it. */
  readonly retryTopics?: boolean
}

export const modes: readonly FailureMode[] = [
  { name: 'clean', fails: 'never', hotKey: false },
  { name: 'failures', fails: 'before the effect', hotKey: false },
  { name: 'failures, retry topics', fails: 'before the effect', hotKey: false, retryTopics: true },
  { name: 'failures after the effect', fails: 'after the effect', hotKey: false },
  { name: 'hot key', fails: 'never', hotKey: true },
  { name: 'hot key, failures', fails: 'before the effect', hotKey: true },
]

const hotCustomer = 'customer-hot'

/** Whose order it is, in a mode. */
export function customerOf(order: number, customer: string, { hotKey }: FailureMode): string {
  return hotKey && order % 10 < 3 ? hotCustomer : customer
}

/** Does this key fail for as long as the run takes? One in a hundred. */
export function isParked(customer: string, { fails }: FailureMode): boolean {
  return fails !== 'never' && customer !== hotCustomer && Number(customer.slice(-5)) % 100 === 7
}

/** Does this message fail the first time it is run? */
export function failsOnce(order: number, { fails }: FailureMode): boolean {
  return fails !== 'never' && order % 100 === 50
}
