import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { makeHome, noteProcess, removeAbandonedHomes, removeHome } from '../../servers/home.ts'
import { kafkaForUse, startKafka } from '../../servers/kafka.ts'
import { processWithPid, thisProcess } from '../../src/drivers/postgres/embedded/process-identity.ts'
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
    if (process.platform === 'linux') await until('the broker is gone', () => processWithPid(pid) === null)
    await removeAbandonedHomes()
    expect(processWithPid(pid)).toBeNull()
    expect(existsSync(directory)).toBe(false)
  })
})

describe('a server that outlived the process which answers for it', () => {
  test('is ended by the next start of a server', async () => {
    const home = await mkdtemp(join(tmpdir(), 'tidemark-server-left-'))
    const left = spawn('sleep', ['600'], { stdio: 'ignore' })
    const ended = once(left, 'exit')
    await noteProcess(home, 'sleeper', left.pid!)
    await writeFile(join(home, 'owner.json'), JSON.stringify({ ...thisProcess(), startedAt: 'before the last boot' }))
    await removeAbandonedHomes()
    expect(await ended).toEqual([null, 'SIGKILL'])
    expect(existsSync(home)).toBe(false)
  })

  test('is left alone while that process runs', async () => {
    const home = await makeHome('used')
    await removeAbandonedHomes()
    expect(existsSync(home)).toBe(true)
    await removeHome(home)
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
