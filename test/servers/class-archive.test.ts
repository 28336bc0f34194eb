import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { ClassArchive } from '../../servers/class-archive.ts'
import { kafkaJars } from '../../servers/jar-sets.ts'
import { javaCommand } from '../../servers/java-process.ts'
import { jars } from '../../servers/maven.ts'
import { ownKafkaAvailable } from '../support/kafka.ts'

const run = promisify(execFile)
const folder = await mkdtemp(join(tmpdir(), 'tidemark-archive-'))
afterAll(() => rm(folder, { recursive: true }))

describe.skipIf(ownKafkaAvailable.missing)(`the archive of classes${ownKafkaAvailable.note}`, () => {
  const start = async (flags: readonly string[]): Promise<string> => {
    const program = { jars: await jars(kafkaJars), mainClass: 'kafka.tools.StorageTool', args: ['random-uuid'], heapMb: 128, flags }
    const [java = '', ...args] = javaCommand(program)
    return (await run(java, args)).stdout
  }

  test('is written by a program that ends, and read by the next', async () => {
    const archive = new ClassArchive(folder)
    expect(archive.flags).toEqual([])
    await start(archive.flagsToWrite(join(folder, 'written')))
    await archive.keep(join(folder, 'written'))
    expect(archive.isThere).toBe(true)
    // With this, Java ends at once if it cannot use the archive.
    expect(await start([...archive.flags, '-Xshare:on'])).toMatch(/^[\w-]{22}\n$/)
  })

  test('stays as it is where a program wrote nothing', async () => {
    const before = await readdir(folder)
    await new ClassArchive(folder).keep(join(folder, 'nothing'))
    expect(await readdir(folder)).toEqual(before)
  })
})
