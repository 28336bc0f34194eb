import type { LetterDetail } from '../../dead-letter/letter.ts'
import type { DeadLetterStore, RedriveOutcome } from '../../dead-letter/port.ts'
import { type Ledger, idOf } from './ledger.ts'
import { connectionLost } from './simulated-outbox-store.ts'
import { SimulatedProcess } from './simulated-process.ts'
import type { Surroundings } from './surroundings.ts'

/** People who look after dead letters: they mend, redrive, edit and discard, by a program that can end in the middle of it. */
export class Operators {
  readonly #world: Surroundings
  readonly #ledger: Ledger
  readonly #letters: DeadLetterStore
  #process: SimulatedProcess
  #lives = 1

  constructor(world: Surroundings, ledger: Ledger, letters: DeadLetterStore) {
    this.#world = world
    this.#ledger = ledger
    this.#letters = letters
    this.#process = new SimulatedProcess(world, 'operator.1')
  }

  /** Does something about a letter, and perhaps about others of its key. */
  async act(): Promise<void> {
    const { chance, plan } = this.#world
    const { letters } = await this.#letters.list({ states: ['dead'] }, { limit: 1_000 })
    if (letters.length === 0) return
    const { id } = chance.pick(letters)
    const letter = (await this.#letters.get(id))!
    if (chance.isSo(plan.discards)) return this.#discard(letter)
    const sameKey = letters.filter((one) => samePlace(one, letter) && one.id !== id && chance.isSo(0.7))
    const all = [letter, ...(await Promise.all(sameKey.map((one) => this.#letters.get(one.id)))).flatMap((one) => one ?? [])]
    await this.#redrive(all, chance.isSo(0.7))
  }

  /** Mends and redrives whatever is dead. */
  async redriveAll(): Promise<void> {
    const { letters } = await this.#letters.list({ states: ['dead'] }, { limit: 1_000 })
    for (const { id } of letters) await this.#redrive([(await this.#letters.get(id))!], true)
  }

  async #redrive(letters: readonly LetterDetail[], mends: boolean): Promise<void> {
    const { chance } = this.#world
    const [first] = letters
    if (mends) for (const { record } of letters) if (!this.#isUnreadable(record)) this.#ledger.mended(idOf(record))
    const note = (outcomes: readonly RedriveOutcome[]): void => {
      for (const { id, outcome } of outcomes) {
        if (outcome !== 'redriven') continue
        this.#world.count('redriven')
        this.#ledger.redriven(idOf(letters.find((one) => one.id === id)!.record))
      }
    }
    if (mends && this.#isUnreadable(first!.record)) return this.#edit(first!)
    const asked = letters.map(({ id, version }) => (chance.isSo(0.5) ? { id, version } : { id }))
    // Nothing has happened since its commit.
    await this.#call(`redrive ${nameOf(letters)}`, async () => note(await this.#letters.redrive(asked, { actor: 'operator' })))
  }

  async #edit({ id, key, version, record }: LetterDetail): Promise<void> {
    const value = Buffer.from(JSON.stringify({ key: String(key) }))
    await this.#call(`edit and redrive ${idOf(record)}`, async () => {
      await this.#letters.edit(id, { value }, { actor: 'operator', version, redrive: true })
      this.#world.count('edited')
      this.#ledger.mended(idOf(record))
      this.#ledger.redriven(idOf(record))
    })
  }

  async #discard({ id, version, record }: LetterDetail): Promise<void> {
    await this.#call(`discard ${idOf(record)}`, async () => {
      await this.#letters.change(id, { kind: 'discard' }, { actor: 'operator', version, reason: 'of no use' })
      this.#world.count('discarded')
      this.#ledger.discarded(idOf(record))
    })
  }

  #isUnreadable(record: LetterDetail['record']): boolean {
    return this.#ledger.trouble(idOf(record)) === 'unreadable'
  }

  /** A refusal is an answer: the letter has changed meanwhile. */
  async #call(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#process.isDead) this.#process = new SimulatedProcess(this.#world, `operator.${++this.#lives}`)
    await this.#process.call(what, work, connectionLost).catch(() => undefined)
  }
}

function samePlace(
  one: Pick<LetterDetail, 'topic' | 'partition' | 'key'>,
  other: Pick<LetterDetail, 'topic' | 'partition' | 'key'>,
): boolean {
  if (one.key === null || other.key === null) return false
  return one.topic === other.topic && one.partition === other.partition && one.key.equals(other.key)
}

function nameOf(letters: readonly LetterDetail[]): string {
  return letters.map(({ record }) => idOf(record)).join(' ')
}
