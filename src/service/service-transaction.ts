import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Transaction } from '../message/transaction.ts'
import { OwnTransaction, type TransactionWatch, allMade, refusal } from '../outbox/own-transaction.ts'

/**
 * One run of `service.transaction`. What its work asks for before it has ended belongs to the transaction, awaited or not. What is asked later
 * is refused, and as long as nothing is committed, it fails the transaction: something of the work would be missing.
 */
export class ServiceTransaction implements TransactionWatch {
  readonly #tx: OwnTransaction
  #unanswered = 0
  #onQuiet: () => void = () => undefined
  #late: { readonly error: unknown } | null = null

  constructor(tx: Transaction) {
    this.#tx = new OwnTransaction(tx, this, 0)
  }

  async run<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    try {
      return await work(this.#tx)
    } finally {
      this.#tx.close()
    }
  }

  /** What was published, after everything is answered. To be asked for just before the commit. Rejects when the transaction must not commit. */
  async published(): Promise<readonly OutboxMessage[]> {
    if (this.#unanswered > 0) {
      await new Promise<void>((resolve) => (this.#onQuiet = resolve))
      // A turn later: what was answered last may lead to something that comes too late.
      await new Promise((resolve) => setImmediate(resolve))
    }
    const messages = await allMade(this.#tx.published ?? [])
    if (this.#late !== null) throw this.#late.error
    return messages
  }

  asks(): void {
    this.#unanswered += 1
  }

  wantsRaw(): void {}

  makes(): void {
    this.#unanswered += 1
  }

  answered(): void {
    this.#unanswered -= 1
    if (this.#unanswered === 0) this.#onQuiet()
  }

  refuses(_place: number, error: unknown, late: boolean): Promise<never> {
    if (late) this.#late ??= { error }
    return refusal(error)
  }
}
