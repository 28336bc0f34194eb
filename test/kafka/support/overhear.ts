import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import { channels } from '../../../src/telemetry/channels.ts'

/** Everything that anybody could print of a value: hidden properties and causes included. */
export function everythingOf(value: unknown): string {
  const options = { depth: 12, showHidden: true, maxArrayLength: null, maxStringLength: null } as const
  return `${inspect(value, options)} ${value instanceof Error ? `${value.message} ${value.stack ?? ''}` : ''}`
}

/** Listens to all diagnostics from now on. */
export function overhear(): { readonly said: () => string; readonly end: () => void } {
  const texts: string[] = []
  const hear = (message: unknown, name: string | symbol): void => void texts.push(`${String(name)} ${everythingOf(message)}`)
  for (const { name } of Object.values(channels)) subscribe(name, hear)
  return {
    said: () => texts.join('\n'),
    end: () => {
      for (const { name } of Object.values(channels)) unsubscribe(name, hear)
    },
  }
}
