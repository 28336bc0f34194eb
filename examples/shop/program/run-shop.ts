import { dropDatabases } from '../databases.ts'
import { type Foundation, openFoundation } from '../foundation.ts'
import type { Purchase } from '../input/purchase.ts'
import { databasesOf, openShop, servicesOf, type Shop, startShop, stopShop } from '../shop.ts'
import { help, parseCommandLine, type Settings } from './command-line.ts'
import { listenForInterrupt } from './interrupt.ts'
import { loadInput } from './load-input.ts'
import { passes, persistently } from './persistence.ts'
import { type Progress, progressOn } from './progress.ts'
import { reportText } from './report-text.ts'
import { runLive } from './run-live.ts'
import { runOnce, UnfinishedError } from './run-once.ts'
import { describeFailure, exitCodes, ShopError } from './shop-error.ts'

/** An embedded server that dies while the shop starts is started again. One of your own must be there. */
const startPatienceMs = { embedded: 30_000, own: 0 }

/** What every step of the program needs. */
interface Run {
  readonly settings: Settings
  readonly foundation: Foundation
  readonly progress: Progress
  readonly signal: AbortSignal
}

/** Runs the program with these arguments. Resolves with its exit code; never rejects. */
export async function runShop(args: readonly string[]): Promise<number> {
  const progress = progressOn(process.stderr)
  const interrupt = listenForInterrupt((text) => progress.say(text))
  // Whoever read our output has gone (`… | head`); there is nobody left to tell.
  process.stdout.on('error', () => undefined)
  let once = false
  try {
    const settings = parseCommandLine(args)
    if (settings === 'help') {
      process.stdout.write(help)
      return exitCodes.done
    }
    once = settings.once
    const result = await runWith(settings, progress, interrupt.signal)
    // Also when the totals were known by then: an exit code and a document that contradict each other would help nobody.
    if (once) interrupt.signal.throwIfAborted()
    process.stdout.write(result)
    return exitCodes.done
  } catch (error) {
    progress.end()
    const interrupted = interrupt.exitCode()
    if (interrupted !== null && (once || isAbort(error))) return reportInterrupt(error, once ? interrupted : exitCodes.done)
    return reportFailure(error, args.includes('--json'))
  }
}

async function runWith(settings: Settings, progress: Progress, signal: AbortSignal): Promise<string> {
  // Before anything else: a malformed line must find an untouched shop.
  const purchases = await loadInput(settings)
  progress.step('Starting the servers.')
  const foundation = await openFoundation(settings, (line) => progress.say(line))
  try {
    const run = { settings, foundation, progress, signal }
    progress.step('Starting the services.')
    if (settings.fresh) await whileStarting(run, () => startAfresh(foundation))
    const shop = await whileStarting(run, () => openAndStart(run))
    return await runUntilBroken(shop, purchases, run).finally(() => stop(shop, run))
  } finally {
    progress.step('Leaving the database.')
    await leave({ progress }, () => foundation.release())
    progress.end()
  }
}

function stop(shop: Shop, run: Run): Promise<void> {
  run.progress.step('Stopping the services.')
  return leave(run, () => stopShop(shop))
}

/** A database that is away at the end takes nothing back: all that was reported is committed. */
async function leave({ progress }: Pick<Run, 'progress'>, step: () => Promise<void>): Promise<void> {
  try {
    await step()
  } catch (error) {
    if (!passes(error)) throw error
    progress.say(`Leaving without the database: ${String(error)}`)
  }
}

function whileStarting<T>({ settings, signal, progress }: Run, step: () => Promise<T>): Promise<T> {
  const patienceMs = settings.database === null ? startPatienceMs.embedded : startPatienceMs.own
  return persistently(step, { signal, patienceMs, onOutage: (error) => progress.say(`Starting again: ${String(error)}`) })
}

async function openAndStart({ foundation, settings }: Run): Promise<Shop> {
  const shop = await openShop(foundation, settings)
  try {
    await startShop(shop)
    return shop
  } catch (error) {
    await stopShop(shop)
    throw error
  }
}

/** Runs, and ends early when a service has stopped loudly: without it nothing would ever settle. */
async function runUntilBroken(shop: Shop, purchases: readonly Purchase[], run: Run): Promise<string> {
  const broken = new AbortController()
  for (const service of servicesOf(shop)) service.done.catch((error: unknown) => broken.abort(error))
  try {
    const result = await runStarted(shop, purchases, { ...run, signal: AbortSignal.any([run.signal, broken.signal]) })
    broken.signal.throwIfAborted()
    return result
  } catch (error) {
    throw broken.signal.aborted ? broken.signal.reason : error
  }
}

async function runStarted(shop: Shop, purchases: readonly Purchase[], { settings, foundation, progress, signal }: Run): Promise<string> {
  if (!settings.once) {
    // The screen belongs to the table now.
    progress.end()
    await runLive(shop, foundation, purchases, settings.rate, signal)
    return ''
  }
  const report = await runOnce(shop, purchases, progress, signal)
  return settings.json ? documentOf(report) : reportText(report)
}

async function startAfresh(foundation: Foundation): Promise<void> {
  const result = await dropDatabases(foundation, databasesOf(foundation))
  if (result === 'dropped') return
  throw new ShopError(
    'SHOP_IN_USE',
    exitCodes.conflict,
    `--fresh would take the shop's databases away from ${result.inUse || 'another process'}. Nothing was dropped.`,
    'Stop the other run, or leave --fresh out.',
  )
}

/** Whoever ends a run wants no verdict on it, but what else went wrong is not kept from them. */
function reportInterrupt(error: unknown, exitCode: number): number {
  if (!isAbort(error)) process.stderr.write(`${describeFailure(error).message}\n`)
  if (exitCode !== exitCodes.done) process.stderr.write('Interrupted. The same command again goes on from here.\n')
  return exitCode
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

function reportFailure(error: unknown, json: boolean): number {
  const { exitCode, ...failure } = describeFailure(error)
  process.stderr.write(`${[failure.message, failure.hint].filter((text) => text !== '').join('\n')}\n`)
  if (json) process.stdout.write(documentOf(error instanceof UnfinishedError ? error.report : { error: failure }))
  return exitCode
}

function documentOf(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
