import { dropDatabases } from '../databases.ts'
import { embeddedFoundation, type Foundation, serverFoundation } from '../foundation.ts'
import { allDatabases, openShop, type Shop, startShop, stopShop } from '../shop.ts'
import { help, parseCommandLine, type Settings } from './command-line.ts'
import { type Interrupt, listenForInterrupt } from './interrupt.ts'
import { loadInput } from './load-input.ts'
import { type Progress, progressOn } from './progress.ts'
import { reportText } from './report-text.ts'
import { runLive } from './run-live.ts'
import { runOnce, UnfinishedError } from './run-once.ts'
import { describeFailure, exitCodes, ShopError } from './shop-error.ts'

/** What every step of the program needs. */
interface Run {
  readonly settings: Settings
  readonly foundation: Foundation
  readonly progress: Progress
  readonly interrupt: Interrupt
}

/** Runs the program with these arguments. Resolves with its exit code; never rejects. */
export async function runShop(args: readonly string[]): Promise<number> {
  const progress = progressOn(process.stderr)
  const interrupt = listenForInterrupt((text) => progress.say(text))
  try {
    const settings = parseCommandLine(args)
    process.stdout.write(settings === 'help' ? help : await runWith(settings, progress, interrupt))
    return exitCodes.done
  } catch (error) {
    progress.end()
    return reportFailure(error, args.includes('--json'), interrupt)
  }
}

async function runWith(settings: Settings, progress: Progress, interrupt: Interrupt): Promise<string> {
  // Before anything else: a malformed line must find an untouched shop.
  const purchases = await loadInput(settings)
  const foundation = settings.database === null ? await embeddedFoundation() : serverFoundation(settings.database)
  try {
    const run = { settings, foundation, progress, interrupt }
    if (settings.fresh) await startAfresh(run)
    const shop = await openShop(foundation, settings)
    return await runOpen(shop, purchases, run).finally(() => stopShop(shop))
  } finally {
    progress.end()
    await foundation.release()
  }
}

async function runOpen(shop: Shop, purchases: Awaited<ReturnType<typeof loadInput>>, run: Run): Promise<string> {
  const { settings, foundation, progress, interrupt } = run
  await startShop(shop)
  if (!settings.once) {
    await runLive(shop, foundation, purchases, settings.rate, interrupt.signal)
    return ''
  }
  const report = await runOnce(shop, purchases, progress, interrupt.signal)
  return settings.json ? documentOf(report) : reportText(report)
}

async function startAfresh({ foundation }: Run): Promise<void> {
  const result = await dropDatabases(foundation, allDatabases)
  if (result === 'dropped') return
  throw new ShopError(
    'SHOP_IN_USE',
    exitCodes.conflict,
    `--fresh would take the shop's databases away from ${result.inUse || 'another process'}. Nothing was dropped.`,
    'Stop the other run, or leave --fresh out.',
  )
}

function reportFailure(error: unknown, json: boolean, interrupt: Interrupt): number {
  const interrupted = interrupt.exitCode()
  if (interrupted !== null && error instanceof Error && error.name === 'AbortError') {
    process.stderr.write('Interrupted. The same command again goes on from here.\n')
    return interrupted
  }
  const { exitCode, ...failure } = describeFailure(error)
  process.stderr.write(`${[failure.message, failure.hint].filter((text) => text !== '').join('\n')}\n`)
  if (json) process.stdout.write(documentOf(error instanceof UnfinishedError ? error.report : { error: failure }))
  return exitCode
}

function documentOf(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
