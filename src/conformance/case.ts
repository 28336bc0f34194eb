/**
 * One promise of a port, as data: any test runner can register it.
 *
 * @module
 */
export interface Case<Fixture> {
  /** A sentence about behaviour. */
  readonly name: string
  /** What a subject must offer, by name. A case that needs more is skipped, with that as the reason. */
  readonly needs?: readonly string[]
  /** Rejects when the promise is broken. Leaves nothing behind that the fixture does not end. */
  run(fixture: Fixture): Promise<void>
}

/** An implementation to be exercised. */
export interface Subject<Fixture> {
  /** Names of what it offers beyond what every implementation does. */
  readonly offers: readonly string[]
  /** A fixture for one case. */
  open(): Promise<Fixture & { close(): Promise<void> }>
}

/** What `exercise` needs of a test runner. */
export interface Runner {
  test(name: string, run: () => Promise<void>): void
  skip(name: string, reason: string): void
}

/**
 * Registers every case with a test runner.
 *
 * ```ts
 * exercise(brokerCases, subject, { test, skip: (name, reason) => test.skip(`${name} (${reason})`) })
 * ```
 */
export function exercise<Fixture>(cases: readonly Case<Fixture>[], subject: Subject<Fixture>, runner: Runner): void {
  for (const { name, needs = [], run } of cases) {
    const missing = needs.filter((need) => !subject.offers.includes(need))
    if (missing.length > 0) runner.skip(name, `needs ${missing.join(', ')}`)
    else {
      runner.test(name, async () => {
        const fixture = await subject.open()
        try {
          await run(fixture)
        } finally {
          await fixture.close()
        }
      })
    }
  }
}
