import { type ChildProgram, startProgram } from '../../support/child-program.ts'
import type { ConsumerSettings } from './make-consumer.ts'

/** Starts a process of consumers. It says `taken` for each partition that it gets, and can be told `lanes <number>`. */
export function startConsumers(settings: ConsumerSettings, env: NodeJS.ProcessEnv = {}): ChildProgram {
  return startProgram(new URL('consumer-process.ts', import.meta.url), [JSON.stringify(settings)], { env })
}
