import { TidemarkError } from '../../errors.ts'
import type { EventDefinition } from '../../message/event.ts'
import type { Actor } from '../../operation/actor.ts'
import type { Action, Audit, AuditEntry } from '../../operation/audit.ts'
import type { GroupKey, HeldKey, KeyHolds } from './port.ts'

export interface KeyDeskOptions {
  readonly store: () => Promise<KeyHolds>
  /** The group whose keys are meant where none is named. */
  readonly group: string
  /** Who is noted as the one who did it; a name alone has no roles. @default 'application' */
  readonly actor?: string | Actor
  /** Asks whether it may be done, and keeps that it was: verbs `key.hold` and `key.release`. @default everything may be done */
  readonly audit?: Audit
}

export interface KeyOptions {
  /** The consumer group. @default the service's group */
  readonly group?: string
  /** A name alone has no roles. @default that of the desk */
  readonly actor?: string | Actor
  /** Kept with it. */
  readonly reason?: string
}

/**
 * Keys that somebody holds: their messages wait in order, those of other keys flow, until the key is released.
 *
 * ```ts
 * await billing.keys.hold(OrderPlaced, 'o-1', { actor: 'ada', reason: 'merging two customers' })
 * // …
 * await billing.keys.release(OrderPlaced, 'o-1', { actor: 'ada' })
 * ```
 */
export class KeyDesk {
  readonly #options: KeyDeskOptions

  constructor(options: KeyDeskOptions) {
    this.#options = options
  }

  /**
   * Holds a key of an event's topic, or of a topic by its name. Once this has resolved no message of it takes effect, not even one whose handler runs already. A
   * key that is held stays as it is, also whose it is; partitions that the group has got since are added. Rejects with `TOPIC_UNKNOWN` where the group has no
   * position in the topic, and with `NOT_ALLOWED`.
   */
  hold(of: string | EventDefinition, key: string | Buffer, options: KeyOptions = {}): Promise<HeldKey> {
    const place = this.#place(of, key, options)
    const { actor, reason } = this.#doer(options)
    return this.#within('hold', place, options, async (audit) => {
      const held = await (await this.#options.store()).hold(place, { by: actor.id, reason, audit })
      if (held !== null) return held
      throw new TidemarkError('TOPIC_UNKNOWN', `The group "${place.group}" has no position in the topic "${place.topic}".`, {
        remedy: 'Name a topic that it reads, and start it once before.',
      })
    })
  }

  /** Lets a key go on: what waits runs in order, before anything newer of it. `false`: nobody held it. Rejects with `NOT_ALLOWED`. */
  release(of: string | EventDefinition, key: string | Buffer, options: KeyOptions = {}): Promise<boolean> {
    const place = this.#place(of, key, options)
    return this.#within('release', place, options, async (audit) => (await this.#options.store()).release(place, { audit }))
  }

  /** Keys that are held, oldest hold first. @default of all groups of the database */
  async list({ group }: Pick<KeyOptions, 'group'> = {}): Promise<readonly HeldKey[]> {
    return (await this.#options.store()).held(group)
  }

  #place(of: string | EventDefinition, key: string | Buffer, { group = this.#options.group }: KeyOptions): GroupKey {
    const bytes = typeof key === 'string' ? Buffer.from(key) : key
    if (Buffer.isBuffer(bytes)) return { group, topic: typeof of === 'string' ? of : of.topic, key: bytes }
    throw new TidemarkError('INPUT_INVALID', 'A key is a text or a Buffer.')
  }

  #doer({ actor = this.#options.actor ?? 'application', reason = null }: { actor?: string | Actor; reason?: string | null }): {
    readonly actor: Actor
    readonly reason: string | null
  } {
    return { actor: typeof actor === 'string' ? { id: actor, roles: [] } : actor, reason }
  }

  #within<T>(
    verb: 'hold' | 'release',
    { group, topic, key }: GroupKey,
    options: KeyOptions,
    work: (lines: readonly AuditEntry[]) => Promise<T>,
  ): Promise<T> {
    const { audit } = this.#options
    if (audit === undefined) return work([])
    const target = { type: 'key', id: `${topic}/${key.toString()}`, details: { group } }
    const action: Action = { ...this.#doer(options), verb: `key.${verb}`, target }
    return audit.within(action, (line) => work([line]))
  }
}
