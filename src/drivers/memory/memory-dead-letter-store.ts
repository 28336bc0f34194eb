import { laneOf } from '../../consumer/partition/lane-of.ts'
import type { PartitionRef } from '../../consumer/port.ts'
import { redriveConflict, requireChangeable } from '../../dead-letter/conflict.ts'
import type { Letter, LetterDetail, LetterEvent, LetterGroup } from '../../dead-letter/letter.ts'
import { parkedKeyOf } from '../../consumer/parked/parked-key.ts'
import {
  type ChangeOptions,
  type DeadLetterStore,
  type GroupLetters,
  type LetterChange,
  type LetterContent,
  type LetterCount,
  type LetterFilter,
  type LetterHeaders,
  type LetterPage,
  type LetterRef,
  type LetterStats,
  type RedriveLetter,
  type RedriveOutcome,
  mostKinds,
} from '../../dead-letter/port.ts'
import { type LockedLetter, redriveOutcomes, severalPartitions } from '../../dead-letter/redrive-refusal.ts'
import { TidemarkError } from '../../errors.ts'
import { coordinateHeader } from '../../message/wire.ts'
import { laneLock } from './memory-batch.ts'
import { type MemoryConsumerTables, type ParkedMessage, keyLock, partitionName } from './memory-consumer-tables.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { matchesFilter } from './memory-letter-filter.ts'
import { type LetterLife, allLetters, letterById, newLife } from './memory-letters.ts'
import { blockIfDead, queueOf } from './memory-parked.ts'
import type { MemoryTransaction } from './memory-transaction.ts'

/** The dead letters of a memory database, with the locks of the one in Postgres. */
export class MemoryDeadLetterStore implements DeadLetterStore {
  readonly #database: MemoryDatabase
  readonly #tables: MemoryConsumerTables

  constructor(database: MemoryDatabase, tables: MemoryConsumerTables) {
    this.#database = database
    this.#tables = tables
  }

  async list(filter: LetterFilter, { limit = 50, after }: { limit?: number; after?: string } = {}): Promise<LetterPage> {
    const place = after === undefined ? null : placeInList(after)
    const found = this.#found(filter).filter((letter) => place === null || newestFirst(place, letter) < 0)
    const page = found.slice(0, limit)
    const last = found.length > limit ? page.at(-1) : undefined
    return { letters: page.map(withoutContent), next: last === undefined ? null : `${last.id}@${last.diedAt.getTime()}` }
  }

  async get(id: number): Promise<LetterDetail | null> {
    return letterById(this.#tables, id)
  }

  async loggedBefore(ids: readonly number[], time: number): Promise<readonly LetterHeaders[]> {
    return this.#found({ ids, archived: 'any' })
      .filter(({ record }) => record.timestamp < time && !record.headers.some(([name]) => name === coordinateHeader))
      .map(({ id, record }) => ({ id, record: { ...record, value: null } }))
  }

  async count(filter: LetterFilter): Promise<LetterCount> {
    const found = this.#found(filter)
    const keys = new Set(found.map(orderOf)).size
    return { count: found.length, keys, oldest: found.at(-1)?.diedAt ?? null, newest: found[0]?.diedAt ?? null }
  }

  async groups(filter: LetterFilter, limit = 100): Promise<readonly LetterGroup[]> {
    const groups = [...groupedBy(this.#found(filter), ({ fingerprint }) => fingerprint).values()].map(groupOf)
    return groups.sort((a, b) => b.count - a.count || b.lastDiedAt.getTime() - a.lastDiedAt.getTime()).slice(0, limit)
  }

  async stats(filter: LetterFilter): Promise<LetterStats> {
    const found = this.#found(filter)
    const first = Math.min(...found.map(({ firstFailedAt }) => firstFailedAt.getTime()))
    return {
      count: found.length,
      byType: countedBy(found, ({ type }) => type ?? ''),
      byReason: countedBy(found, ({ reason }) => reason),
      oldestFailure: found.length === 0 ? null : new Date(first),
    }
  }

  async byGroup(since: Date): Promise<readonly GroupLetters[]> {
    return [...groupedBy(this.#found({}), ({ group }) => group)].map(([group, letters]) => {
      const { id, messageId, errorClass, type, fingerprint } = letters[0]!
      const kinds = [...new Set(letters.map((letter) => letter.fingerprint))].sort()
      return {
        group,
        count: letters.length,
        recent: letters.filter(({ diedAt }) => diedAt >= since).length,
        oldest: letters.at(-1)!.diedAt,
        newest: letters[0]!.diedAt,
        kinds: kinds.length <= mostKinds ? kinds : [],
        example: { id, messageId, errorClass, type, fingerprint },
      }
    })
  }

  async *select(filter: LetterFilter, pageSize = 1_000): AsyncIterable<readonly LetterRef[]> {
    const inOrder = [...groupedBy(this.#found(filter), orderOf)].flatMap(([order, letters]) =>
      letters
        .sort((a, b) => a.offset - b.offset)
        .map((letter) => ({ id: letter.id, version: letter.version, place: partitionName(letter), order })),
    )
    for (let from = 0; from < inOrder.length; from += pageSize) yield inOrder.slice(from, from + pageSize)
  }

  async change(id: number, change: LetterChange, options: ChangeOptions): Promise<Letter | null> {
    const { actor } = options
    const reason = options.reason ?? null
    return this.#changeLetter(id, change.kind, options, async (tx, letter) => {
      switch (change.kind) {
        case 'assign':
          return this.#alter(tx, id, { assignee: change.assignee }, this.#event(actor, 'assigned', change.assignee))
        case 'comment':
          return this.#alter(tx, id, null, this.#event(actor, 'commented', change.text))
        case 'archive':
          return this.#alter(tx, id, { archivedAt: letter.archivedAt ?? this.#now() }, this.#event(actor, 'archived', reason))
        case 'restore':
          return this.#alter(tx, id, { archivedAt: null }, this.#event(actor, 'restored', reason))
        case 'discard': {
          const ended = { state: 'discarded', endedAt: this.#now(), endedBy: actor, endReason: reason } as const
          this.#alter(tx, id, ended, this.#event(actor, 'discarded', reason))
          const key = keyOf(letter)
          tx.stage(() =>
            this.#setQueue(letter, key, (queue) => queue.filter(({ record, dead }) => !dead || record.offset !== letter.offset)),
          )
        }
      }
    })
  }

  async edit(id: number, content: LetterContent, options: ChangeOptions & { readonly redrive?: boolean }): Promise<Letter | null> {
    if (options.redrive !== true) {
      return this.#changeLetter(id, 'edit', options, async (tx, letter) => this.#editIn(tx, letter, content, options))
    }
    const asked = options.version === undefined ? { id } : { id, version: options.version }
    const [outcome] = await this.#redrive([asked], options, content)
    if (outcome!.outcome === 'redriven') return withoutContent(letterById(this.#tables, id)!)
    if (outcome!.reason === 'unknown') return null
    throw redriveConflict(id, outcome!.reason)
  }

  redrive(letters: readonly RedriveLetter[], options: ChangeOptions): Promise<readonly RedriveOutcome[]> {
    return this.#redrive(letters, options, null)
  }

  async #redrive(
    letters: readonly RedriveLetter[],
    options: Omit<ChangeOptions, 'version'>,
    content: LetterContent | null,
  ): Promise<readonly RedriveOutcome[]> {
    const refused = (reason: 'unknown' | 'no-position'): readonly RedriveOutcome[] =>
      letters.map(({ id }) => ({ id, outcome: 'refused', reason }))
    const found = letters.flatMap(({ id }) => letterById(this.#tables, id) ?? [])
    const [first] = found
    if (first === undefined) return refused('unknown')
    if (found.some((letter) => partitionName(letter) !== partitionName(first))) throw severalPartitions()
    for (;;) {
      const lanes = this.#tables.partition(first)?.lanes.length
      if (lanes === undefined) return refused('no-position')
      const outcome = await this.#database.transaction((tx) => this.#redriveIn(tx, lanes, letters, found, options, content))
      if (outcome !== 'lanes-changed') return outcome
    }
  }

  async #redriveIn(
    tx: MemoryTransaction,
    lanes: number,
    letters: readonly RedriveLetter[],
    all: readonly LetterDetail[],
    options: Omit<ChangeOptions, 'version'>,
    content: LetterContent | null,
  ): Promise<readonly RedriveOutcome[] | 'lanes-changed'> {
    const { actor } = options
    const partition = placeOf(all[0]!)
    const laneOfLetter = ({ key, offset }: Letter): number => laneOf(key, offset, lanes)
    const concerned = [...new Set(all.map(laneOfLetter))].sort((a, b) => a - b)
    for (const lane of concerned) await tx.lock(laneLock({ ...partition, lane }))
    await this.#database.step('redrive: hold', tx)
    if (this.#tables.partition(partition)?.lanes.length !== lanes) return 'lanes-changed'
    for (const key of [...new Set(all.map(keyOf))].sort()) await tx.lock(keyLock(partition, key))
    await this.#database.step('redrive: letters', tx)
    for (const id of letters.map((one) => one.id).sort((a, b) => a - b)) await tx.lock(letterLock(id))
    const find = (id: number): LockedLetter | undefined => {
      const letter = letterById(this.#tables, id)
      return letter === null ? undefined : { ...letter, archived: letter.archivedAt !== null }
    }
    const nextOffset = (id: number): number =>
      this.#tables.lane({ ...partition, lane: laneOfLetter(letterById(this.#tables, id)!) })!.nextOffset
    const outcomes = redriveOutcomes(letters, find, { nextOffset, changes: content === null ? 1 : 2 })
    const going = outcomes.flatMap(({ id, outcome }) => (outcome === 'redriven' ? [letterById(this.#tables, id)!] : []))
    if (going.length === 0) return outcomes
    this.#noteLines(tx, options)
    for (const lane of concerned) {
      const keys = [...new Set(going.filter((letter) => laneOfLetter(letter) === lane).map(keyOf))]
      if (keys.length > 0) tx.stage(() => this.#tables.hold({ ...partition, lane }, keys))
    }
    for (const letter of going) {
      if (content !== null) this.#editIn(tx, letter, content, options)
      const change = { state: 'redriven', redrives: letter.redrives + 1, endedAt: null, endedBy: null, endReason: null } as const
      this.#alter(tx, letter.id, change, this.#event(actor, 'redriven', options.reason ?? null))
      tx.stage(() => {
        const { record } = letterById(this.#tables, letter.id)!
        this.#setQueue(letter, keyOf(letter), (queue) => [
          ...queue.filter((one) => one.record.offset !== record.offset),
          { record, dead: false, letterId: letter.id },
        ])
      })
    }
    return outcomes
  }

  /** The lock order is that of a redrive: key, letter. */
  #changeLetter(
    id: number,
    wish: LetterChange['kind'] | 'edit',
    options: ChangeOptions,
    work: (tx: MemoryTransaction, letter: LetterDetail) => Promise<void>,
  ): Promise<Letter | null> {
    return this.#database
      .transaction(async (tx) => {
        const place = letterById(this.#tables, id)
        if (place === null) return null
        if (wish === 'discard') await tx.lock(keyLock(place, keyOf(place)))
        await tx.lock(letterLock(id))
        await this.#database.step('change letter', tx)
        const letter = letterById(this.#tables, id)!
        requireChangeable(letter, wish, options)
        await work(tx, letter)
        this.#noteLines(tx, options)
        return id
      })
      .then((done) => (done === null ? null : withoutContent(letterById(this.#tables, done)!)))
  }

  #editIn(tx: MemoryTransaction, { id, record }: LetterDetail, { value, headers }: LetterContent, options: ChangeOptions): void {
    const { actor } = options
    const reason = options.reason ?? null
    const at = this.#now()
    tx.stage(() => {
      const life = this.#life(id)
      const edit = { number: life.lineage.length + 1, before: { value: record.value, headers: record.headers }, actor, at, reason }
      const edited = { ...record, value: value === undefined ? record.value : value, headers: headers ?? record.headers }
      const history = [...life.history, this.#event(actor, 'edited', reason)]
      this.#tables.letterLives.set(id, { ...life, version: life.version + 1, edited, lineage: [...life.lineage, edit], history })
    })
  }

  /** `null`: only the event. */
  #alter(tx: MemoryTransaction, id: number, change: Partial<LetterLife> | null, event: LetterEvent): void {
    tx.stage(() => {
      const life = this.#life(id)
      const version = life.version + (change === null ? 0 : 1)
      this.#tables.letterLives.set(id, { ...life, ...change, version, history: [...life.history, event] })
    })
  }

  /** What was noted of the head's failures goes with that head alone; a lease stays with whoever has it. */
  #setQueue(place: PartitionRef, key: string, change: (queue: readonly ParkedMessage[]) => readonly ParkedMessage[]): void {
    const { parked, states } = this.#tables.partition(place)!
    const before = queueOf(this.#tables, place, key)
    const queue = [...change(before)].sort((a, b) => a.record.offset - b.record.offset)
    const [head] = queue
    parked.set(key, queue)
    if (head === undefined) {
      states.delete(key)
      this.#tables.dropIfEmpty(place, key)
      return
    }
    if (head !== before[0]) this.#tables.note(place, key, { attempts: 0, failures: [], crashes: 0, nextAttemptAt: 0 })
    blockIfDead(this.#tables, place, key)
  }

  #noteLines(tx: MemoryTransaction, { audit = [] }: Pick<ChangeOptions, 'audit'>): void {
    if (audit.length > 0) tx.stage(() => audit.forEach((line) => this.#database.auditLog.record(line)))
  }

  #life(id: number): LetterLife {
    return this.#tables.letterLives.get(id) ?? newLife
  }

  #event(actor: string, action: LetterEvent['action'], text: string | null): LetterEvent {
    return { at: this.#now(), actor, action, text }
  }

  #now(): Date {
    return new Date(this.#database.clock.now())
  }

  /** Newest first. */
  #found(filter: LetterFilter): LetterDetail[] {
    return allLetters(this.#tables)
      .filter((letter) => matchesFilter(letter, filter))
      .sort(newestFirst)
  }
}

type PlaceInList = Pick<Letter, 'id' | 'diedAt'>

function newestFirst(a: PlaceInList, b: PlaceInList): number {
  return b.diedAt.getTime() - a.diedAt.getTime() || b.id - a.id
}

/** `<id>@<time>`, as `list` gave it. */
function placeInList(after: string): PlaceInList {
  const [, id, diedAt] = /^(\d+)@(\d+)$/.exec(after) ?? []
  if (id !== undefined && diedAt !== undefined) return { id: Number(id), diedAt: new Date(Number(diedAt)) }
  throw new TidemarkError('INPUT_INVALID', 'Expected the mark that the page before gave as `next`.')
}

function placeOf({ group, topic, topicId, partition }: Letter): PartitionRef {
  return { group, topic, topicId, partition }
}

/** Of the key it waits under, base64. */
function keyOf(letter: Letter): string {
  return parkedKeyOf(letter).key.toString('base64')
}

function orderOf(letter: Letter): string {
  return JSON.stringify([letter.group, letter.topicId, letter.partition, keyOf(letter)])
}

function letterLock(id: number): string {
  return `letter ${id}`
}

function withoutContent({
  record: _record,
  stack: _stack,
  attempts: _attempts,
  lineage: _lineage,
  history: _history,
  ...letter
}: LetterDetail): Letter {
  return letter
}

function groupedBy<T>(all: readonly T[], nameOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const one of all) {
    const group = groups.get(nameOf(one))
    if (group === undefined) groups.set(nameOf(one), [one])
    else group.push(one)
  }
  return groups
}

function countedBy<T>(all: readonly T[], nameOf: (one: T) => string): Map<string, number> {
  return new Map([...groupedBy(all, nameOf)].map(([name, group]) => [name, group.length]))
}

/** Newest first. */
function groupOf(letters: readonly LetterDetail[]): LetterGroup {
  const newest = letters[0]!
  const { fingerprint, group, type, errorClass, frame, id, messageId, reason } = newest
  return {
    fingerprint,
    group,
    type,
    errorClass,
    frame,
    count: letters.length,
    firstDiedAt: letters.at(-1)!.diedAt,
    lastDiedAt: newest.diedAt,
    cameBack: letters.filter(({ redrives }) => redrives > 0).length,
    example: { id, messageId, reason },
  }
}
