import { parseArgs } from 'node:util'

export interface BenchOptions {
  /** One JSON document on stdout instead of a table and a chart. */
  readonly json: boolean
  /** Small numbers, to see in a minute that the bench works. Figures of it are worth nothing. */
  readonly quick: boolean
  readonly rounds: number
  readonly messages: number
  /** Run only systems whose name contains this text. */
  readonly only: string | undefined
  /** Instead of the bench, run every setting tried for the peers once. */
  readonly tune: boolean
}

export interface Defaults {
  readonly rounds: number
  readonly messages: number
  readonly quickMessages: number
}

export function readOptions(name: string, defaults: Defaults): BenchOptions {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        messages: { type: 'string' },
        only: { type: 'string' },
        tune: { type: 'boolean', default: false },
      },
    })
    const { json, quick, only, tune } = values
    return {
      json,
      quick,
      only,
      tune,
      rounds: wholeNumber('--rounds', values.rounds) ?? (quick ? 1 : defaults.rounds),
      messages: wholeNumber('--messages', values.messages) ?? (quick ? defaults.quickMessages : defaults.messages),
    }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.stderr.write(`Usage: npm run bench -- ${name} [--json] [--quick] [--rounds N] [--messages N] [--only SYSTEM] [--tune]\n`)
    process.exit(2)
  }
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d*$/.test(text)) return Number(text)
  throw new Error(`${option} needs a whole number above 0; got '${text}'.`)
}
