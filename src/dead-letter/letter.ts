import type { FailedAttempt } from '../consumer/port.ts'
import type { LogRecord } from '../message/port.ts'

/** `redriven`: it waits to be handled again, or was (`endedAt`). `discarded`: a named person has ended it. */
export type LetterState = 'dead' | 'redriven' | 'discarded'

export const letterStates: readonly LetterState[] = ['dead', 'redriven', 'discarded']

/** A dead letter as lists show it: everything but the payload, the headers and the stack. */
export interface Letter {
  readonly id: number
  /** Rises with every change of the letter, whoever makes it. */
  readonly version: number
  readonly state: LetterState
  /** The consumer group that could not handle it. A redrive goes to this one alone. */
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly offset: number
  /** The raw bytes; `null`: the message had none, and its order is its own. */
  readonly key: Buffer | null
  readonly messageId: string | null
  readonly type: string | null
  readonly handler: string | null
  /** `block`: the messages of its key wait behind it. */
  readonly policy: 'block' | 'skip'
  readonly errorClass: string
  readonly reason: string
  /** Of letters that died alike. */
  readonly fingerprint: string
  /** Where it was thrown: the first line of the stack that is not of a library. */
  readonly frame: string | null
  readonly codeVersion: string | null
  readonly firstFailedAt: Date
  readonly lastFailedAt: Date
  readonly diedAt: Date
  /** Charged runs, over all its lives. */
  readonly retryCount: number
  readonly redrives: number
  /** How often it was edited. */
  readonly edits: number
  readonly assignee: string | null
  /** Out of sight of lists and alerts since then. */
  readonly archivedAt: Date | null
  /** Handled after a redrive, or discarded. */
  readonly endedAt: Date | null
  readonly endedBy: string | null
  readonly endReason: string | null
}

/** A dead letter with all that is known of it. */
export interface LetterDetail extends Letter {
  /** As it stands after the last edit; what a redrive brings. */
  readonly record: LogRecord
  readonly stack: string | null
  readonly attempts: readonly FailedAttempt[]
  /** Oldest first. The first one's `before` is the message as it came from the log. */
  readonly lineage: readonly LetterEdit[]
  /** Who did what with it, comments among it; oldest first. */
  readonly history: readonly LetterEvent[]
}

/** One edit, with what stood there before it. */
export interface LetterEdit {
  /** From 1 on. */
  readonly number: number
  readonly before: Pick<LogRecord, 'value' | 'headers'>
  readonly actor: string
  readonly at: Date
  readonly reason: string | null
}

export interface LetterEvent {
  readonly at: Date
  readonly actor: string
  readonly action: 'assigned' | 'commented' | 'archived' | 'restored' | 'discarded' | 'edited' | 'redriven'
  /** The comment, the assignee, or the reason that was given. */
  readonly text: string | null
}

/** Letters that died alike: same consumer group, type, error class and place in the code. */
export interface LetterGroup {
  readonly fingerprint: string
  readonly group: string
  readonly type: string | null
  readonly errorClass: string
  readonly frame: string | null
  readonly count: number
  readonly firstDiedAt: Date
  readonly lastDiedAt: Date
  /** Of those that were redriven before, and came back. */
  readonly cameBack: number
  /** The newest letter of the group. */
  readonly example: { readonly id: number; readonly messageId: string | null; readonly reason: string }
}
