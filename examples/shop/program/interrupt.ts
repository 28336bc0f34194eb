import { constants } from 'node:os'

/** npm and the terminal both pass on one Ctrl-C, so a second one within this time is the same. */
const sameKeyMs = 1_000

/** How the person, or the system, asks the program to end. */
export interface Interrupt {
  /** Aborts at the first request. */
  readonly signal: AbortSignal
  /** The exit code a shell expects, 128 and the signal's number; `null` while nobody asked. */
  exitCode(): number | null
}

/** Listens for Ctrl-C and its kin. A second Ctrl-C ends the program at once; what is not committed then is done at the next start. */
export function listenForInterrupt(say: (text: string) => void): Interrupt {
  const controller = new AbortController()
  let first: { readonly code: number; readonly at: number } | null = null
  const ask = (name: NodeJS.Signals): void => {
    const code = 128 + constants.signals[name]
    if (first === null) {
      first = { code, at: performance.now() }
      say('Stopping: what is being handled is finished first. Ctrl-C again to stop at once.')
      controller.abort()
    } else if (performance.now() - first.at > sameKeyMs) {
      process.exit(code)
    }
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, ask)
  return { signal: controller.signal, exitCode: () => first?.code ?? null }
}
