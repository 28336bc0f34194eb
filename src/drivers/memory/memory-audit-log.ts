import type { Clock } from '../../internal/clock.ts'
import type { AuditEntry, AuditRecord } from '../../operation/audit.ts'
import type { AuditFilter } from '../../operation/port.ts'

/** Who did what, for the life of the process. */
export class MemoryAuditLog {
  readonly #clock: Clock
  readonly #lines: AuditRecord[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  record(entry: AuditEntry): void {
    this.#lines.push({ ...structuredClone(entry), id: this.#lines.length + 1, at: new Date(this.#clock.now()) })
  }

  /** Newest first. */
  list({ actor, verb, target, outcome, from, before = Infinity, to, limit = 100 }: AuditFilter): readonly AuditRecord[] {
    const fits = (line: AuditRecord): boolean =>
      line.id < before &&
      (actor === undefined || line.actor.id === actor) &&
      (verb === undefined || line.verb === verb) &&
      (target === undefined || (line.target.type === target.type && (target.id === undefined || line.target.id === target.id))) &&
      (outcome === undefined || line.outcome === outcome) &&
      (from === undefined || line.at >= from) &&
      (to === undefined || line.at < to)
    return this.#lines.filter(fits).toReversed().slice(0, limit)
  }
}
