import { z } from 'zod'
import { type EventDefinition, event } from '../../../src/message/index.ts'

const schema = z.object({ key: z.string(), n: z.int() })

/** The n-th message of its key, from 1, as a program writes it that knows nothing of envelopes. */
export function numbered(topic: string): EventDefinition<'Numbered', typeof schema> {
  return event('Numbered', { aggregate: 'foreign', key: ({ key }) => key, schema, topic, untyped: true })
}

/** A handler never gets over this message, one of every fortieth key. */
export function isDeadly(key: string, n: number): boolean {
  return n === deadlyNumber && isDoomed(key)
}

export const deadlyNumber = 12

export function isDoomed(key: string): boolean {
  return Number(key.split('-')[1]) % 40 === 17
}

/** A handler gets over this one at its second try. */
export function isUnlucky(n: number): boolean {
  return n % 41 === 0
}
