import type { EventData, EventDefinition, Message, MessageOf } from '../message/index.ts'

/**
 * A message as a handler gets it, for tests that call the handler themselves. The data are taken as they are, unchecked. What is left out has a fixed value, so
 * that two messages made alike are the same message.
 */
export function testMessage<Definition extends EventDefinition>(
  definition: Definition,
  data: EventData<Definition>,
  rest: Partial<Omit<Message, 'data' | 'type' | 'topic'>> = {},
): MessageOf<Definition> {
  const id = rest.id ?? '00000000-0000-7000-8000-000000000001'
  return {
    id,
    source: 'test',
    time: new Date(1_750_000_000_000),
    key: null,
    schemaVersion: definition.version,
    correlationId: id,
    headers: {},
    partition: 0,
    offset: 0,
    ...rest,
    type: definition.type,
    topic: definition.topic,
    data,
  }
}
