import { TidemarkError } from '../errors.ts'
import type { EventDefinition } from './event.ts'

/** Brings stored data from its version to the definition's, one step at a time. `MESSAGE_UNDECODABLE` where a step is missing or throws. */
export function upcast(definition: EventDefinition, from: number, stored: unknown): unknown {
  let data = stored
  for (let version = from; version < definition.version; version++) {
    const step = definition.upcasters[version]
    if (step === undefined) {
      throw new TidemarkError(
        'MESSAGE_UNDECODABLE',
        `The event "${definition.type}" has no upcaster from version ${version} to ${version + 1}.`,
        {
          details: { type: definition.type, version },
          remedy: 'Add it to the definition.',
        },
      )
    }
    try {
      data = step(data)
    } catch (cause) {
      throw new TidemarkError('MESSAGE_UNDECODABLE', `The upcaster of the event "${definition.type}" from version ${version} threw.`, {
        cause,
        details: { type: definition.type, version },
      })
    }
  }
  return data
}
