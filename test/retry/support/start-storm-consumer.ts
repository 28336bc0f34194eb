import { type ChildProgram, startProgram } from '../../support/child-program.ts'

export interface StormSettings {
  /** The service's database, and the broker's. */
  readonly url: string
}

export function startStormConsumer(settings: StormSettings): ChildProgram {
  return startProgram(new URL('storm-process.ts', import.meta.url), [JSON.stringify(settings)])
}
