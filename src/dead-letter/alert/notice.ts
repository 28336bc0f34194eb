import type { LetterGroup } from '../letter.ts'
import type { GroupLetters } from '../port.ts'
import type { AlertKind, AlertSettings } from './alert-machine.ts'
import type { Contact } from './port.ts'

/** What somebody has to hear. Never a payload, and never what an error said: such texts quote payloads. */
export interface Notice {
  readonly severity: 'info' | 'warning' | 'critical'
  readonly title: string
  readonly details: string
  /** Id of the message that died last; `null`: it had none, or none is left. */
  readonly eventId: string | null
  /** The consumer group. */
  readonly group: string
  /** `null`: nobody has said whom it concerns, which is a finding of its own. */
  readonly owner: string | null
  readonly runbook: string | null
}

/** Tells somebody. A rejection means that it was not told: it is tried again at the next look. */
export type Notify = (notice: Notice) => void | Promise<void>

/** How a group stands. */
export interface Standing {
  /** `null` when none is left. */
  readonly letters: GroupLetters | null
  /** Kinds that were not there before; some of them, if they are many. */
  readonly fresh: readonly LetterGroup[]
  readonly now: number
}

/** Puts into words what is to be said of a group. */
export function noticeOf(kind: AlertKind, contact: Contact, { letters, fresh, now }: Standing, { windowMs }: AlertSettings): Notice {
  const { group, owner, runbook } = contact
  const about = { group, owner, runbook, eventId: letters?.example.messageId ?? null }
  if (letters === null)
    return { ...about, severity: 'info', title: `No dead letters any more: ${group}`, details: 'All are handled, discarded or archived.' }
  const { count, recent, oldest, example } = letters
  const age = inWords(now - oldest.getTime())
  const details = [
    `${count} dead ${count === 1 ? 'letter' : 'letters'}, ${recent} of them within the last ${inWords(windowMs)}; the oldest is ${age} old.`,
    `The newest (${example.id}): ${example.type ?? 'a message without a type'}, ${example.errorClass}.`,
    ...(owner === null ? ['The consumer group has no owner: give it one with the option owner.'] : []),
  ].join(' ')
  switch (kind) {
    case 'growing':
      return { ...about, details, severity: 'critical', title: `${recent} dead letters within ${inWords(windowMs)}: ${group}` }
    case 'kind': {
      const kinds = fresh.map(
        ({ type, errorClass, frame, count: n, example: { id } }) =>
          `${type ?? 'a message without a type'}: ${errorClass}${frame === null ? '' : ` at ${frame}`} (${n}, such as letter ${id}).`,
      )
      const eventId = fresh[0]?.example.messageId ?? null
      return {
        ...about,
        eventId,
        details: [...kinds, details].join(' '),
        severity: 'warning',
        title: `Another kind of dead letter: ${group}`,
      }
    }
    case 'more':
      return { ...about, details, severity: 'warning', title: `${count} dead letters by now: ${group}` }
    case 'old':
      return { ...about, details, severity: 'warning', title: `A dead letter has waited for ${age}: ${group}` }
    default:
      return { ...about, details, severity: 'warning', title: `Dead letters: ${group}` }
  }
}

/** `5 minutes`. */
function inWords(ms: number): string {
  const units = [
    ['day', 86_400_000],
    ['hour', 3_600_000],
    ['minute', 60_000],
    ['second', 1_000],
  ] as const
  const [name, length] = units.find(([, unit]) => ms >= unit) ?? (['second', 1_000] as const)
  const count = Math.max(0, Math.floor(ms / length))
  return `${count} ${name}${count === 1 ? '' : 's'}`
}
