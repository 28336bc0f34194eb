import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { removeAbandonedHomes } from '../../servers/home.ts'
import { kafkaForUse, startKafka } from '../../servers/kafka.ts'
import { processWithPid } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { startProgram } from '../support/child-program.ts'
import { ownKafkaAvailable } from '../support/kafka.ts'
import { until } from '../support/until.ts'

const empty = await mkdtemp(join(tmpdir(), 'tidemark-no-java-'))
afterAll(() => rm(empty, { recursive: true }))

describe.skipIf(ownKafkaAvailable.missing)(`a broker whose program is killed${ownKafkaAvailable.note}`, () => {
  test('ends, and the next start of a server removes what it had', async () => {
    const program = startProgram(new URL('./start-kafka.ts', import.meta.url))
    const { directory, pid } = JSON.parse(await program.line(0)) as { directory: string; pid: number }
    expect(processWithPid(pid)).not.toBeNull()
    await program.kill()
    await removeAbandonedHomes()
    await until('the broker is gone', () => processWithPid(pid) === null)
    expect(existsSync(directory)).toBe(false)
  })
})

describe('where there is no Java', () => {
  test('a start says so, and what to do', async () => {
    const refused = startKafka({ environment: { PATH: empty } })
    await expect(refused).rejects.toThrow(/Java 17 or newer is needed.*no java on the PATH.*npm run setup.*KAFKA_BROKERS/)
  })

  test('brokers that run already serve all the same', async () => {
    await using kafka = await kafkaForUse({ environment: { PATH: empty, KAFKA_BROKERS: 'one:9092, two:9093' } })
    expect(kafka.brokers).toEqual(['one:9092', 'two:9093'])
  })
})
