import { sideBySide } from '../internal/side-by-side.ts'
import type { Actor, AuditDetails, Target } from '../operation/actor.ts'
import type { Audit, AuditEntry } from '../operation/audit.ts'
import type { Letter } from './letter.ts'
import type { ChangeOptions } from './port.ts'

/** Who does something with dead letters, and why. */
export interface ActingOptions {
  /** A name alone has no roles, whatever roles the manager's own actor has. @default that of the manager */
  readonly actor?: string | Actor
  /** Kept with it. */
  readonly reason?: string
}

/** Who does it. */
export interface Doer {
  readonly actor: Actor
  readonly reason: string | null
}

export type LetterVerb = 'redrive' | 'edit' | 'discard' | 'assign' | 'comment' | 'archive' | 'restore'

/** Lines of the audit log that are written side by side, each on a connection. */
const linesAtOnce = 4

export function actorOf(actor: string | Actor): Actor {
  return typeof actor === 'string' ? { id: actor, roles: [] } : actor
}

/** As the changes of the store take it. */
export function changeOptions({ actor, reason }: Doer, audit: readonly AuditEntry[]): Omit<ChangeOptions, 'version'> {
  return { actor: actor.id, audit, ...(reason === null ? {} : { reason }) }
}

/** Asks whether something may be done with letters, and sees to it that nothing is done without a line. */
export class LetterAudit {
  readonly #audit: Audit | undefined

  /** `undefined`: everything may be done, and nothing is kept. */
  constructor(audit: Audit | undefined) {
    this.#audit = audit
  }

  /** A change of one letter, which needs all of these to be allowed. `work` stores the lines in its transaction. */
  change<T>(
    verbs: readonly LetterVerb[],
    letter: Pick<Letter, 'id' | 'group'>,
    doer: Doer,
    work: (lines: readonly AuditEntry[]) => Promise<T>,
  ): Promise<T> {
    const audit = this.#audit
    const [verb, ...others] = verbs
    if (verb === undefined || audit === undefined) return work([])
    const action = { ...doer, verb: `dead-letter.${verb}`, target: targetOf(letter) }
    return audit.within(action, (line) => this.change(others, letter, doer, (lines) => work([line, ...lines])))
  }

  /** A change of many letters, in many transactions. */
  act<T>(verb: LetterVerb, doer: Doer, work: () => Promise<T>, told: (result: T) => AuditDetails): Promise<T> {
    if (this.#audit === undefined) return work()
    return this.#audit.act({ ...doer, verb: `dead-letter.${verb}`, target: { type: 'dead-letter', id: null } }, work, told)
  }

  /** Before payloads are shown. All are asked for first: a line says of what was shown, not of what would have been. */
  async view(letters: readonly Letter[], doer: Doer): Promise<void> {
    const audit = this.#audit
    if (audit === undefined) return
    const allowed: AuditEntry[] = []
    for (const letter of letters) allowed.push(await audit.allow({ ...doer, verb: 'dead-letter.view', target: targetOf(letter) }))
    await sideBySide(allowed, linesAtOnce, (entry) => audit.record(entry))
  }

  /** Before the first payload of many is handed out: one line for all. */
  async handOut(letters: number, doer: Doer): Promise<void> {
    const target = { type: 'dead-letter', id: null, details: { letters } }
    const line = await this.#audit?.allow({ ...doer, verb: 'dead-letter.export', target })
    if (line !== undefined) await this.#audit?.record(line)
  }
}

function targetOf({ id, group }: Pick<Letter, 'id' | 'group'>): Target {
  return { type: 'dead-letter', id: String(id), details: { group } }
}
