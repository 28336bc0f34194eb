import type { InboxState, InboxStore } from '../../inbox/port.ts'
import { coordinateHeader } from '../../message/wire.ts'
import type { MemoryConsumerTables } from './memory-consumer-tables.ts'
import { newLife } from './memory-letters.ts'

/** What the inbox of a memory database can tell. It forgets ids one by one, as their time comes. */
export class MemoryInboxStore implements InboxStore {
  readonly #tables: MemoryConsumerTables

  constructor(tables: MemoryConsumerTables) {
    this.#tables = tables
  }

  async rememberedSince(): Promise<number | null> {
    return this.#tables.forgottenBefore
  }

  async state(groups: readonly string[]): Promise<InboxState> {
    const rememberedSince = this.#tables.forgottenBefore
    return {
      rememberedSince,
      groupsWithIds: groups.filter((group) => this.#tables.handled(group).size > 0).sort(),
      oldestForgottenLetter: rememberedSince === null ? null : this.#oldestLetterBefore(rememberedSince, groups),
    }
  }

  #oldestLetterBefore(time: number, groups: readonly string[]): number | null {
    const { deadLetters, letterLives } = this.#tables
    const times = deadLetters
      .filter((letter, index) => groups.includes(letter.partition.group) && (letterLives.get(index + 1) ?? newLife).state === 'dead')
      .filter(({ record }) => record.timestamp < time && !record.headers.some(([name]) => name === coordinateHeader))
      .map(({ record }) => record.timestamp)
    return times.length === 0 ? null : Math.min(...times)
  }
}
