import { describeMachine } from './machine.ts'
import { readOptions } from './options.ts'
import { report } from './report.ts'
import { startServer } from './server.ts'
import type { BenchOptions, Defaults } from './options.ts'
import type { BenchDocument } from './result.ts'
import type { Server } from './server.ts'

/** What a bench finds out; the rest of the document is the same for all. */
export type Findings = Pick<BenchDocument, 'settings' | 'results' | 'ratios'>

/**
 * A bench from its command line to its report: starts the server, measures, prints, and leaves nothing running, also after a failure or a signal.
 * A failure prints no document and ends with exit code 1.
 */
export async function runBench(
  name: string,
  defaults: Defaults,
  measure: (server: Server, options: BenchOptions) => Promise<Findings>,
): Promise<void> {
  const options = readOptions(name, defaults)
  const date = new Date().toISOString()
  const server = await startServer()
  const interrupted = stopOnSignal(server)
  process.stderr.write(`Postgres ${server.version}, Node ${process.version}, ${options.messages} messages, ${options.rounds} rounds\n`)
  try {
    const { settings, results, ratios } = await measure(server, options)
    const common = { messages: options.messages, rounds: options.rounds, postgres: server.settings }
    report({ name, date, machine: describeMachine(server.version), settings: { ...common, ...settings }, results, ratios }, options.json)
  } catch (error) {
    // What fails because the server was stopped is no news.
    if (interrupted.aborted) return
    process.stderr.write(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    process.exitCode = 1
  } finally {
    await server.stop()
  }
}

/** Subjects end by themselves when this process is gone; the server would not. */
function stopOnSignal(server: Server): AbortSignal {
  const interrupted = new AbortController()
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.once(signal, () => {
      interrupted.abort()
      void server.stop().finally(() => process.exit(code))
    })
  }
  return interrupted.signal
}
