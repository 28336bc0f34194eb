/**
 * Runs once around the whole suite, in vitest's own process: what all test files share is started here and released by the returned function.
 *
 * @module
 */
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import { keepBroker } from './shared-broker.ts'
import { makeServerDirectory, removeLeftovers, removeServerDirectory } from './test-run.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where the server of this run lives. The first test file that needs it starts it, so that a run of pure tests starts none. */
    readonly postgresDirectory: string
    /** Where test files ask for the run's broker, which is started for the first one. */
    readonly kafkaSocket: string
  }
}

export default async function globalSetup(project: TestProject): Promise<() => Promise<void>> {
  await removeLeftovers()
  const directory = await makeServerDirectory()
  project.provide('postgresDirectory', join(directory, 'postgres'))
  const kafkaSocket = join(directory, 'kafka.socket')
  const broker = await keepBroker(kafkaSocket)
  project.provide('kafkaSocket', kafkaSocket)
  return async () => {
    await broker.close()
    if (process.env['TIDEMARK_TEST_KEEP'] !== '1') return removeServerDirectory(directory)
    await embedded({ directory: join(directory, 'postgres') }).stop()
    process.stderr.write(`The databases of failed test files are kept until the next run in ${directory}.\n`)
  }
}
