import type { OperationSettings } from '../operation/index.ts'
import { type CommandContext, type FlagSpec, UsageError } from './command.ts'

/** Flags of commands that start an operation: how fast, and when to stop. */
export const paceFlags: Readonly<Record<string, FlagSpec>> = {
  rate: { type: 'string', value: 'N', help: 'At most so many items a second (default: as fast as it goes)' },
  canary: {
    type: 'string',
    value: '1,5,20,100',
    help: 'Stages in percent; after each the failures decide whether it goes on (default: 1,5,20,100)',
  },
  'no-canary': { type: 'boolean', help: 'All at once' },
  'max-failures': {
    type: 'string',
    value: 'SHARE',
    help: 'Stop when more than this share has failed: 0 at the first one, 1 never (default: 0.2)',
  },
  detach: { type: 'boolean', help: 'Leave the work to the processes of the service' },
}

/** What the flags say of the pace; the rest is as operations have it. */
export function paceIn({ flags }: CommandContext): Partial<OperationSettings> {
  const { rate, canary, 'max-failures': maxFailures } = flags
  if (flags['no-canary'] === true && canary !== undefined) throw new UsageError('Pass either --canary or --no-canary.')
  return {
    ...(rate === undefined ? {} : { rate: numberIn('rate', rate, (n) => n > 0 && Number.isFinite(n), 'a number above 0') }),
    ...(maxFailures === undefined
      ? {}
      : { maxFailures: numberIn('max-failures', maxFailures, (n) => n >= 0 && n <= 1, 'a share from 0 to 1') }),
    ...(flags['no-canary'] === true ? { canary: [1] } : typeof canary === 'string' ? { canary: stagesIn(canary) } : {}),
  }
}

function stagesIn(text: string): readonly number[] {
  const stages = text.split(',').map((part) => Number(part) / 100)
  const isRising = stages.every((share, i) => share > (stages[i - 1] ?? 0))
  if (isRising && stages.at(-1) === 1) return stages
  throw new UsageError(`--canary takes percentages that rise up to 100, such as 1,5,20,100; got ${JSON.stringify(text)}.`)
}

function numberIn(name: string, value: string | boolean, holds: (n: number) => boolean, expected: string): number {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN
  if (holds(number)) return number
  throw new UsageError(`--${name} takes ${expected}; got ${JSON.stringify(value)}.`)
}
