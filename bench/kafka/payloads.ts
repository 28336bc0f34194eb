import { purchase } from './purchase.ts'

/** Kafka's own producer draws from a file of payloads; ours goes through the same ones in turn. */
export const payloadCount = 20_000

/** Purchases as they are sent, one for each number from 1 on. */
export function payloads(): string[] {
  return Array.from({ length: payloadCount }, (_, index) => JSON.stringify(purchase(index + 1)))
}
