import { type ChildProgram, startProgram } from '../../support/child-program.ts'

export interface StormSettings {
  /** The service's database, and the broker's, unless `kafka` is given. */
  readonly url: string
  /** Addresses of its brokers. */
  readonly kafka?: readonly string[]
  readonly topic: string
  readonly group: string
  /** Failed messages go there; the process runs a relay, too. */
  readonly retryTopics: boolean
}

export function startStormConsumer(settings: StormSettings): ChildProgram {
  return startProgram(new URL('storm-process.ts', import.meta.url), [JSON.stringify(settings)])
}
