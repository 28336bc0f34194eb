import { expect, test } from 'vitest'
import { z } from 'zod'
import { currentGroup, currentMessage, handling } from './ambient.ts'
import { createMessage } from './create-message.ts'
import type { MessageOptions, Producer } from './create-message.ts'
import { event } from './event.ts'
import type { Message } from './message.ts'
import { handledMessage, receive, testProducer } from '../../test/message/fixture.ts'

const Step = event('Step', { aggregate: 'step', key: (step) => step.name, schema: z.object({ name: z.string() }) })

async function publish(name: string, producer: Producer, options?: MessageOptions): Promise<Message> {
  return receive(await createMessage(Step, { name }, options, producer), Step)
}

test('a first message is its own correlation and has no cause', async () => {
  const first = await publish('a', testProducer())
  expect(first.correlationId).toBe(first.id)
  expect(first).not.toHaveProperty('causationId')
})

test('what a handler publishes has its correlation, and the handled message as its cause, through any depth', async () => {
  const producer = testProducer()
  const first = await publish('a', producer)
  const second = await handling(first, () => publish('b', producer))
  const third = await handling(second, () => publish('c', producer))
  expect(second).toMatchObject({ correlationId: first.id, causationId: first.id })
  expect(third).toMatchObject({ correlationId: first.id, causationId: second.id })
})

test('concurrent handlers keep their own message across await', async () => {
  const producer = testProducer()
  const causes = await Promise.all(['a', 'b', 'c', 'd'].map((name) => publish(name, producer)))
  const effects = await Promise.all(
    causes.map((cause, i) =>
      handling(cause, async () => {
        for (let turn = 0; turn <= 5 - i; turn++) await new Promise(setImmediate)
        return publish('effect', producer)
      }),
    ),
  )
  expect(effects.map((effect) => effect.causationId)).toEqual(causes.map((cause) => cause.id))
})

test('an inner message hides the outer one, and only inside', () => {
  const outer = handledMessage({ id: 'outer' })
  const inner = handledMessage({ id: 'inner' })
  handling(outer, () => {
    expect(handling(inner, () => currentMessage()?.id)).toBe('inner')
    expect(currentMessage()?.id).toBe('outer')
  })
  expect(currentMessage()).toBeUndefined()
})

test('the group that handles is known in any depth, and a message handled inside without one is of the same group', () => {
  expect(currentGroup()).toBeUndefined()
  const groups = handling(
    handledMessage({ id: 'a' }),
    () => [currentGroup(), handling(handledMessage({ id: 'b' }), currentGroup)],
    'billing',
  )
  expect(groups).toEqual(['billing', 'billing'])
  expect(handling(handledMessage({ id: 'a' }), currentGroup)).toBeUndefined()
})

test('options win over what the handled message hands down', async () => {
  const message = await handling(handledMessage({ id: 'cause', correlationId: 'story' }), () =>
    publish('a', testProducer(), { correlationId: 'other', causationId: 'elsewhere' }),
  )
  expect(message).toMatchObject({ correlationId: 'other', causationId: 'elsewhere' })
})

test('a foreign id that no database could store is handed down in a form that one can', async () => {
  const message = await handling(handledMessage({ id: 'a\0b', correlationId: 'c\ud800' }), () => publish('a', testProducer()))
  expect(message).toMatchObject({ causationId: 'a\u2400b', correlationId: 'c\ufffd' })
})
