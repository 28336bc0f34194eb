import { describe, expect, test } from 'vitest'
import { help, parseCommandLine } from '../../examples/shop/program/command-line.ts'

describe('the command line', () => {
  test('without arguments means the sample at 50 orders a second, declined above 150.00 and out of stock above 10', () => {
    expect(parseCommandLine([])).toMatchObject({
      once: false,
      json: false,
      fresh: false,
      input: expect.stringMatching(/data\/cdnow-sample\.txt$/) as string,
      limit: null,
      rate: 50,
      declineAboveCents: 15_000,
      maxUnits: 10,
      broker: 'postgres',
      database: null,
    })
  })

  test('takes every option, with a space or an equals sign', () => {
    const args = ['--once', '--json', '--fresh', '--input', 'a.txt', '--limit=7', '--decline-above', '99.5', '--max-units=0']
    expect(parseCommandLine(args)).toMatchObject({
      once: true,
      json: true,
      fresh: true,
      input: 'a.txt',
      limit: 7,
      declineAboveCents: 9_950,
      maxUnits: 0,
    })
    expect(parseCommandLine(['--rate', '0.5'])).toMatchObject({ rate: 0.5 })
    expect(parseCommandLine(['--broker', 'kafka'])).toMatchObject({ broker: 'kafka' })
    expect(parseCommandLine(['--input', '-a.txt'])).toMatchObject({ input: '-a.txt' })
  })

  test('explains itself, each option and each exit code', () => {
    expect(parseCommandLine(['-h'])).toBe('help')
    expect(parseCommandLine(['--once', '--help'])).toBe('help')
    for (const flag of [
      '--once',
      '--json',
      '--fresh',
      '--input',
      '--limit',
      '--rate',
      '--decline-above',
      '--max-units',
      '--broker',
      'KAFKA_BROKERS',
      '--database',
      '130',
    ]) {
      expect(help).toContain(flag)
    }
  })

  const wrong: readonly (readonly [args: string, message: RegExp, hint: RegExp])[] = [
    ['--ones', /no option --ones/, /Did you mean --once\?/],
    ['--maxunits 5', /no option --maxunits/, /Did you mean --max-units\?/],
    ['--decline 5', /no option --decline/, /Did you mean --decline-above\?/],
    ['--colour', /no option --colour/, /--help lists/],
    ['-x', /-x/, /--help lists/],
    ['orders.txt', /orders\.txt/, /--help lists/],
    ['--input', /--input takes a value, and none came/, /--help lists/],
    ['--limit --json', /--limit takes a value, and --json came/, /--help lists/],
    ['--input -h', /--input takes a value, and -h came/, /--help lists/],
    ['--decline-above -1', /--decline-above takes dollars.*from 0 on, got "-1"/, /150\.00/],
    ['--max-units -1', /--max-units takes a whole number from 0 on, got "-1"/, /--max-units 10/],
    ['--limit -1', /--limit takes a whole number from 0 on, got "-1"/, /--limit 10/],
    ['--rate -0.5', /--rate takes orders a second.*got "-0.5"/, /--rate 50/],
    ['--database -x', /--database takes the URL/, /postgresql:/],
    ['--once=yes', /--once/, /--help lists/],
    ['--limit ten', /--limit takes a whole number.*"ten"/, /--limit 10/],
    ['--limit 1.5', /--limit takes a whole number/, /--limit 10/],
    ['--limit=-1', /--limit takes a whole number.*"-1"/, /--limit 10/],
    ['--limit=', /--limit takes a whole number.*""/, /--limit 10/],
    ['--max-units 1e3', /--max-units takes a whole number/, /--max-units 10/],
    ['--decline-above 1.234', /--decline-above takes dollars.*"1.234"/, /150\.00/],
    ['--decline-above $5', /--decline-above takes dollars/, /150\.00/],
    ['--decline-above=-5', /--decline-above takes dollars/, /150\.00/],
    ['--rate 0', /--rate takes orders a second/, /--rate 50/],
    ['--rate fast', /--rate takes orders a second/, /--rate 50/],
    ['--json', /--json goes with --once/, /Add --once/],
    ['--once --rate 5', /--once places as fast as it can/, /Leave --rate out/],
    ['--broker kafak', /--broker takes postgres or kafka, got "kafak"/, /Did you mean --broker kafka\?/],
    ['--broker Postgres', /--broker takes postgres or kafka, got "Postgres"/, /Did you mean --broker postgres\?/],
    ['--broker redis', /--broker takes postgres or kafka, got "redis"/, /--broker kafka/],
    ['--broker', /--broker takes a value, and none came/, /--help lists/],
    ['--database localhost', /--database takes the URL/, /postgresql:/],
    ['--database https://example.org', /--database takes the URL/, /postgresql:/],
  ]

  test.each(wrong)('with "%s" is refused with exit code 2 and what to do', (line, message, hint) => {
    let caught: unknown
    try {
      parseCommandLine(line.split(' '))
    } catch (error) {
      caught = error
    }
    expect(caught).toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(message) as string,
      hint: expect.stringMatching(hint) as string,
    })
  })
})
