import { createHash, randomUUID } from 'node:crypto'
import { existsSync, realpathSync, statSync } from 'node:fs'
import { copyFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { findJava } from './java.ts'

// What Java says of an archive that does not fit would stand in the output of the program. It starts without it then.
const quietly = '-Xlog:disable'

/**
 * Kafka's classes as Java has them once they are loaded, kept beside the jars: with them a start takes half the time and CPU. The first broker
 * that ends cleanly writes them.
 */
export class ClassArchive {
  readonly #place: string

  constructor(jars: string, environment?: NodeJS.ProcessEnv) {
    // Each Java has one of its own.
    const java = realpathSync(findJava(environment))
    const { mtimeMs, size } = statSync(java)
    const identity = createHash('sha256').update(`${java} ${mtimeMs} ${size}`).digest('hex').slice(0, 12)
    this.#place = join(jars, `classes-${identity}.jsa`)
  }

  get isThere(): boolean {
    return existsSync(this.#place)
  }

  /** For a program that reads it; none while it is not there. */
  get flags(): readonly string[] {
    return this.isThere ? [`-XX:SharedArchiveFile=${this.#place}`, quietly] : []
  }

  /** For a program that writes its classes to a file when it ends cleanly. */
  flagsToWrite(file: string): readonly string[] {
    return [`-XX:ArchiveClassesAtExit=${file}`, quietly]
  }

  /** Keeps what such a program has written. Nothing happens if it wrote nothing. */
  async keep(file: string): Promise<void> {
    if (!existsSync(file)) return
    const draft = `${this.#place}.${randomUUID()}.draft`
    try {
      await copyFile(file, draft)
      await rename(draft, this.#place)
    } finally {
      await rm(draft, { force: true })
    }
  }
}
