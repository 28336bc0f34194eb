/**
 * A system under test runs in a process of its own. The module that holds it calls `serveSubject`; the bench starts the module with `startSubject`.
 * Three steps, each asked for by the bench: `prepare` (not measured), `run` (measured), `stop`.
 *
 * @module
 */

import { mkdir, writeFile } from 'node:fs/promises'
import { Session } from 'node:inspector/promises'
import { basename, join } from 'node:path'

/** Named numbers a run reports. The bench knows their units. */
export type Figures = Readonly<Record<string, number>>

export interface Subject {
  /** Everything that must exist before the clock starts: schema, backlog, connections. */
  prepare(): Promise<unknown>
  /** What is measured. Resolves when the work is done and durable. */
  run(): Promise<Figures>
  stop(): Promise<unknown>
}

export type Step = 'prepare' | 'run' | 'stop'

export interface StepDone {
  readonly done: Step
  readonly figures: Figures
  /** CPU seconds of the process during this step, user and system. */
  readonly cpuSeconds: number
}

export interface StepFailed {
  readonly failed: Step
  readonly error: string
}

/** Makes this process a subject. The input is what the bench gave to `startSubject`. */
export function serveSubject<Input>(make: (input: Input) => Subject): void {
  const subject = make(JSON.parse(process.env['BENCH_INPUT'] ?? '{}') as Input)
  process.on('message', (step: Step) => {
    void perform(subject, step).then((answer) => {
      process.send?.(answer, () => {
        if (step === 'stop') process.disconnect()
      })
    })
  })
  // A bench that is gone takes its subject with it.
  process.on('disconnect', () => process.exit(0))
}

async function perform(subject: Subject, step: Step): Promise<StepDone | StepFailed> {
  const before = process.resourceUsage()
  try {
    const figures = step === 'run' ? await profiled(() => subject.run()) : await subject[step]().then(() => ({}))
    const after = process.resourceUsage()
    const microseconds = after.userCPUTime - before.userCPUTime + (after.systemCPUTime - before.systemCPUTime)
    return { done: step, figures, cpuSeconds: microseconds / 1e6 }
  } catch (error) {
    return { failed: step, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

/** With `BENCH_PROFILE=FOLDER` in the environment, leaves a CPU profile of the run there, for the developer tools of a browser. It slows the run. */
async function profiled(run: () => Promise<Figures>): Promise<Figures> {
  const folder = process.env['BENCH_PROFILE']
  if (folder === undefined) return run()
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.start')
  const figures = await run()
  const { profile } = await session.post('Profiler.stop')
  session.disconnect()
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, `${basename(process.argv[1] ?? 'subject', '.ts')}-${process.pid}.cpuprofile`), JSON.stringify(profile))
  return figures
}
