import { type Contact, type LetterWatch, watchLetters } from '../dead-letter/index.ts'
import type { OpenService } from './open-service.ts'
import type { ServiceOptions } from './options.ts'
import type { Consumption } from './service.ts'

/** Notes whom the letters of each group concern, so that the command line and other processes know it, too. */
export function noteContacts({ database }: OpenService, options: ServiceOptions, consumptions: readonly Consumption[]): Promise<void> {
  return database.alerts.noteContacts(contactsOf(options, consumptions))
}

/** Of each group. */
export function contactsOf({ consumer = {} }: ServiceOptions, consumptions: readonly Consumption[]): readonly Contact[] {
  const groups = [...new Set(consumptions.map(({ group }) => group))]
  return groups.map((group) => {
    const own = consumptions.filter((one) => one.group === group)
    const owner = own.find((one) => one.owner !== undefined)?.owner ?? consumer.owner ?? null
    const runbook = own.find((one) => one.runbook !== undefined)?.runbook ?? consumer.runbook ?? null
    return { group, owner, runbook }
  })
}

/** The watch on the dead letters, where there is somebody to be told. */
export function watchDeadLetters({ database }: OpenService, { notify, alerts = {} }: ServiceOptions): readonly LetterWatch[] {
  if (notify === undefined) return []
  const { everyMs, ...settings } = alerts
  const every = everyMs === undefined ? {} : { everyMs }
  return [watchLetters({ letters: database.deadLetters, store: database.alerts, notify, settings, ...every })]
}
