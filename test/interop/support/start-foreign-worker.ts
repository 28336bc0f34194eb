import { type ChildProgram, startProgram } from '../../support/child-program.ts'

export interface ForeignWorkerSettings {
  /** The service's database. */
  readonly url: string
  readonly brokers: readonly string[]
  readonly group: string
  /** With keys; known by what the value says, since it comes more than once. */
  readonly keyed: string
  /** Without keys; known by its place. */
  readonly keyless: string
}

/** Starts a process that handles both topics. It says `taken`, `fenced`, `released` and `abandoned` as its partitions come and go; told `stop`, it stops in order. */
export function startForeignWorker(settings: ForeignWorkerSettings): ChildProgram {
  return startProgram(new URL('foreign-worker-process.ts', import.meta.url), [JSON.stringify(settings)])
}
