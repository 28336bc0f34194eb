/**
 * Kafka's own command-line programs, run from the jars: what is not ours reads and writes what we wrote, and is measured beside us.
 *
 * ```ts
 * const { stdout } = await kafkaTool('kafka-console-consumer', ['--bootstrap-server', broker, '--topic', 'orders', '--from-beginning', '--max-messages', '3'])
 * ```
 *
 * @module
 */
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { ClassArchive } from './class-archive.ts'
import { startChild } from './child.ts'
import { toolJars } from './jar-sets.ts'
import { logFlags } from './java-log.ts'
import { type Speed, javaCommand, speedFlags } from './java-process.ts'
import { jars } from './maven.ts'

/** By the names of Kafka's scripts. */
const mainClasses = {
  'kafka-configs': 'kafka.admin.ConfigCommand',
  'kafka-console-consumer': 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'kafka-console-producer': 'org.apache.kafka.tools.ConsoleProducer',
  'kafka-consumer-groups': 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
  'kafka-consumer-perf-test': 'org.apache.kafka.tools.ConsumerPerformance',
  'kafka-delete-records': 'org.apache.kafka.tools.DeleteRecordsCommand',
  'kafka-dump-log': 'kafka.tools.DumpLogSegments',
  'kafka-get-offsets': 'org.apache.kafka.tools.GetOffsetShell',
  'kafka-leader-election': 'org.apache.kafka.tools.LeaderElectionCommand',
  'kafka-producer-perf-test': 'org.apache.kafka.tools.ProducerPerformance',
  'kafka-reassign-partitions': 'org.apache.kafka.tools.reassign.ReassignPartitionsCommand',
  'kafka-topics': 'org.apache.kafka.tools.TopicCommand',
  'kafka-transactions': 'org.apache.kafka.tools.TransactionsCommand',
} as const

export type KafkaTool = keyof typeof mainClasses

export interface ToolOptions {
  /** What it reads from standard input. @default nothing */
  readonly input?: string
  /** The largest heap, in MiB. @default 256 */
  readonly heapMb?: number
  /** `full` is how Kafka's own scripts set up Java, for benches. @default 'quick' */
  readonly speed?: Speed
  /** Ends it with SIGTERM, as an operator would. What it has said by then is the result. */
  readonly signal?: AbortSignal
  /** Told the process once it runs, to measure it. */
  readonly started?: (pid: number) => void
}

export interface ToolResult {
  /** `null` if a signal ended it. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs one of Kafka's programs to its end. A failure is a result too: look at `code`. */
export async function kafkaTool(tool: KafkaTool, args: readonly string[], options: ToolOptions = {}): Promise<ToolResult> {
  const folder = await jars(toolJars)
  const flags = [...speedFlags[options.speed ?? 'quick'], ...logFlags('warn'), ...new ClassArchive(folder).flags]
  const program = { jars: folder, mainClass: mainClasses[tool], args, heapMb: options.heapMb ?? 256, flags }
  const child = await startChild(javaCommand(program), { stdio: 'pipe' })
  const end = (): void => void child.kill('SIGTERM')
  options.started?.(child.pid!)
  if (options.signal?.aborted === true) end()
  options.signal?.addEventListener('abort', end, { once: true })
  // A program that ends without reading everything is no failure of ours.
  child.stdin?.on('error', () => undefined).end(options.input ?? '')
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    once(child, 'close') as Promise<[number | null]>,
  ])
  options.signal?.removeEventListener('abort', end)
  return { code, stdout, stderr }
}
