import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { EventDefinition } from '../../message/event.ts'
import { UsageError } from '../command.ts'

/** The event definitions that a module of the application exports, by type: one by one, in lists, or in objects. */
export async function loadEvents(file: string): Promise<ReadonlyMap<string, EventDefinition>> {
  const loaded: unknown = await import(pathToFileURL(resolve(file)).href).catch((error: unknown) => {
    throw new UsageError(`--events: ${file} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`)
  })
  const found = new Map<string, EventDefinition>()
  collect(loaded, found, 3)
  if (found.size === 0) throw new UsageError(`--events: ${file} exports no event, as event() makes them.`)
  return found
}

function collect(value: unknown, found: Map<string, EventDefinition>, depth: number): void {
  if (isEvent(value)) found.set(value.type, value)
  else if (typeof value === 'object' && value !== null && depth > 0) for (const one of Object.values(value)) collect(one, found, depth - 1)
}

function isEvent(value: unknown): value is EventDefinition {
  return (
    typeof value === 'object' &&
    value !== null &&
    ['type', 'aggregate', 'topic', 'version', 'schema', 'upcasters', 'codec'].every((name) => name in value)
  )
}
