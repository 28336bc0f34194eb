/**
 * The promises of the `DeadLetterStore` port, as cases that any test runner can register; see `exercise`. Each case gets a group of its own.
 *
 * @module
 */
import type { Case } from './case.ts'
import { changeCases } from './dead-letter/change-cases.ts'
import type { DeadLetterStoreFixture } from './dead-letter/fixture.ts'
import { holdCases } from './dead-letter/hold-cases.ts'
import { lookCases } from './dead-letter/look-cases.ts'
import { redriveCases } from './dead-letter/redrive-cases.ts'

export type { DeadLetterStoreFixture, WaitingMessage } from './dead-letter/fixture.ts'

export const deadLetterStoreCases: readonly Case<DeadLetterStoreFixture>[] = [...lookCases, ...redriveCases, ...changeCases, ...holdCases]
