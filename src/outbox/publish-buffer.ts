import { TidemarkError } from '../errors.ts'
import type { Eventual } from '../message/eventual.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { SavepointCommand } from '../message/transaction-command.ts'

interface Savepoint {
  readonly name: string
  /** How many messages there were when it was made. */
  readonly messages: number
}

/** A command that was sent. What it did is known with its answer. */
export interface AskedCommand {
  readonly command: SavepointCommand
  answer: 'none' | 'done' | 'failed'
}

/**
 * What is published in a transaction, to its end. A rollback to a savepoint takes back what was published since, as it takes back rows.
 *
 * Publishing is instantaneous and commands are not, so what comes while one waits for its answer takes effect after it. A command that failed
 * has done nothing, on the server as here.
 */
export class PublishBuffer {
  readonly #messages: Eventual<OutboxMessage>[] = []
  readonly #savepoints: Savepoint[] = []
  readonly #waiting: (Eventual<OutboxMessage> | AskedCommand)[] = []
  #failure: TidemarkError | null = null

  add(message: Eventual<OutboxMessage>): void {
    if (this.#waiting.length === 0) this.#messages.push(message)
    else this.#waiting.push(message)
  }

  /** A command is sent. Its answer is to be told. */
  asks(command: SavepointCommand): AskedCommand {
    const asked: AskedCommand = { command, answer: 'none' }
    this.#waiting.push(asked)
    return asked
  }

  /** `false`: from now on nobody can tell what stands. `messages` throws then. */
  answered(asked: AskedCommand, done: boolean): boolean {
    asked.answer = done ? 'done' : 'failed'
    let next = 0
    for (const one of this.#waiting) {
      if (!('answer' in one)) this.#messages.push(one)
      else if (one.answer === 'none') break
      else if (one.answer === 'done') this.#do(one.command)
      next += 1
    }
    void this.#waiting.splice(0, next)
    return this.#failure === null
  }

  /** What stands, in the order it was published. Throws `INPUT_INVALID` when a savepoint was used that is not known here. */
  get messages(): readonly Eventual<OutboxMessage>[] {
    if (this.#failure !== null) throw this.#failure
    return this.#messages
  }

  #do({ does, name }: SavepointCommand): void {
    if (does === 'savepoint') {
      this.#savepoints.push({ name, messages: this.#messages.length })
      return
    }
    const at = this.#savepoints.findLastIndex((savepoint) => savepoint.name === name)
    if (at === -1) {
      this.#failure ??= unknown(name)
      return
    }
    if (does === 'rollback to') this.#messages.length = this.#savepoints[at]!.messages
    // A release ends the savepoint, too; a rollback to it leaves it standing.
    this.#savepoints.length = does === 'release' ? at : at + 1
  }
}

function unknown(name: string): TidemarkError {
  return new TidemarkError('INPUT_INVALID', `The savepoint "${name}" was not made by tx.query of this handler or work, but used by it.`, {
    remedy: 'Make savepoints by tx.query; of others nobody can tell what was published since.',
  })
}
