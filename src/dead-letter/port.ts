import type { Header, LogRecord } from '../message/port.ts'
import type { AuditEntry } from '../operation/audit.ts'
import { type Letter, type LetterDetail, type LetterGroup, type LetterState, letterStates } from './letter.ts'

/**
 * What the dead letters need of the service's database. The consumer writes them (`ConsumerStore`); here they are looked at, changed and redriven.
 * Lock order everywhere: position, key, letter; see `docs/design/failure.md`.
 *
 * @module
 */

/** Which letters. Conditions are joined by *and*, the values of one by *or*. `{}`: all that are dead and not archived. */
export interface LetterFilter {
  readonly ids?: readonly number[]
  readonly messageIds?: readonly string[]
  readonly groups?: readonly string[]
  /** @default ['dead'] */
  readonly states?: readonly LetterState[]
  readonly types?: readonly string[]
  readonly errorClasses?: readonly string[]
  readonly fingerprints?: readonly string[]
  /** Where it died, or, of one that died in a retry topic, where it was first. */
  readonly topics?: readonly string[]
  /** As text; the bytes are compared. */
  readonly keys?: readonly string[]
  readonly handlers?: readonly string[]
  /** `null`: those of nobody. */
  readonly assignee?: string | null
  /** Occurs in the reason, message id, key or type. Case counts in the key only. */
  readonly text?: string
  /** Look for `text` in the payload as well, as bytes. Reads every payload of the other conditions. @default false */
  readonly inPayload?: boolean
  /** Headers with these values, all of them. */
  readonly headers?: Readonly<Record<string, string>>
  readonly diedFrom?: Date
  /** Not this moment itself. */
  readonly diedBefore?: Date
  /** @default false */
  readonly archived?: boolean | 'any'
}

/** Whatever became of it: for whoever names letters some other way. */
export const anyLetter: Pick<LetterFilter, 'states' | 'archived'> = { states: letterStates, archived: 'any' }

export interface LetterPage {
  readonly letters: readonly Letter[]
  /** To be given as `after` for the next page; `null`: there is none. */
  readonly next: string | null
}

export interface LetterCount {
  readonly count: number
  readonly oldest: Date | null
  readonly newest: Date | null
  /** Different keys; each letter without one counts as one. */
  readonly keys: number
}

/** As much of a letter as a redrive needs. Only letters of equal `place` can go in one `redrive`, and those of equal `order` should. */
export interface LetterRef {
  readonly id: number
  readonly version: number
  /** Names the group and partition. */
  readonly place: string
  /** Names the group, partition and key whose order it stands in; of a letter without a key, the letter. */
  readonly order: string
}

/** A letter's record, whose value is `null` here whatever it is. */
export interface LetterHeaders {
  readonly id: number
  readonly record: LogRecord
}

export interface LetterStats {
  readonly count: number
  /** By type; the empty text stands for none. */
  readonly byType: ReadonlyMap<string, number>
  readonly byReason: ReadonlyMap<string, number>
  /** When the first of them failed for the first time. */
  readonly oldestFailure: Date | null
}

/** Kinds that are told apart in one consumer group, at most. */
export const mostKinds = 1_000

/** How a consumer group stands, for alerts. Archived letters do not count. */
export interface GroupLetters {
  readonly group: string
  readonly count: number
  /** Died since the moment that was asked for. */
  readonly recent: number
  readonly oldest: Date
  readonly newest: Date
  /** Their fingerprints; none where there are more than 1,000. */
  readonly kinds: readonly string[]
  /** Of the newest one. */
  readonly example: Pick<Letter, 'id' | 'messageId' | 'errorClass' | 'type' | 'fingerprint'>
}

/** Reads only. No list carries a payload. */
export interface LetterQueries {
  /** By the time of death, newest first. At most `limit` (@default 50) after the page that gave `after`. */
  list(filter: LetterFilter, page?: { readonly limit?: number; readonly after?: string }): Promise<LetterPage>
  get(id: number): Promise<LetterDetail | null>
  /**
   * Of these letters those that are dead, that the log took before a time (milliseconds since 1970), and that have no coordinate among their headers. In one
   * statement, and without their values.
   */
  loggedBefore(ids: readonly number[], time: number): Promise<readonly LetterHeaders[]>
  count(filter: LetterFilter): Promise<LetterCount>
  /** Most letters first. */
  groups(filter: LetterFilter, limit?: number): Promise<readonly LetterGroup[]>
  stats(filter: LetterFilter): Promise<LetterStats>
  /** Per consumer group that has letters that are dead and not archived. */
  byGroup(since: Date): Promise<readonly GroupLetters[]>
  /**
   * All letters of a filter as they are at one moment, key by key in the order of their offsets, in pages (@default 1,000 letters). Holds one
   * connection and its snapshot until it is read to its end or left.
   */
  select(filter: LetterFilter, pageSize?: number): AsyncIterable<readonly LetterRef[]>
}

/** Who changes a letter, and on which sight of it. */
export interface ChangeOptions {
  readonly actor: string
  readonly reason?: string
  /** The version that was seen: another one is refused with `DEAD_LETTER_CONFLICT`. @default whatever it is now */
  readonly version?: number
  /** Lines of the audit log that are stored in the same transaction; none is where nothing changes. @default none */
  readonly audit?: readonly AuditEntry[]
}

export type LetterChange =
  | { readonly kind: 'assign'; readonly assignee: string | null }
  | { readonly kind: 'comment'; readonly text: string }
  /** Hides it from lists and alerts. Refused for one that blocks its key: that must end first. */
  | { readonly kind: 'archive' }
  | { readonly kind: 'restore' }
  /** Ends it for good. Where it blocks its key, the messages behind it go on. Only dead ones. */
  | { readonly kind: 'discard' }

/** What is put in the place of value and headers. What is left out stays. */
export interface LetterContent {
  readonly value?: Buffer | null
  readonly headers?: readonly Header[]
}

/** Why a letter was not redriven; nothing of it has changed then. */
export type RedriveRefusal =
  | 'unknown'
  /** It was redriven or discarded meanwhile. */
  | 'not-dead'
  /** Its version is not the one that was seen. */
  | 'changed'
  /** Restore it first. */
  | 'archived'
  /** The group has no position in the partition (any more): nobody would handle it. */
  | 'no-position'
  /** The group's position was set back to before it: it comes again from the log. */
  | 'comes-again'

export type RedriveOutcome =
  | { readonly id: number; readonly outcome: 'redriven'; readonly version: number }
  | { readonly id: number; readonly outcome: 'refused'; readonly reason: RedriveRefusal }

export interface RedriveLetter {
  readonly id: number
  /** The version that was seen. @default whatever it is now */
  readonly version?: number
}

/** Every change is one transaction, and is kept in the letter's history with who made it. */
export interface LetterChanges {
  /** Returns the letter as it is now; `null`: there is none. `DEAD_LETTER_CONFLICT` where version or state do not allow it. */
  change(id: number, change: LetterChange, options: ChangeOptions): Promise<Letter | null>

  /**
   * Changes what a redrive will bring, and keeps what stood there. Only dead ones. With `redrive`, in the same transaction, it is redriven at once,
   * and nothing is changed where that is refused (`DEAD_LETTER_CONFLICT`, the reason in `details.reason`). Checks no schema: see `editLetter`.
   */
  edit(id: number, content: LetterContent, options: ChangeOptions & { readonly redrive?: boolean }): Promise<Letter | null>

  /**
   * Gives letters of one partition back to their group, at their old offsets: in one transaction positions, keys, letters. What is not dead any more, or not
   * as it was seen, is left out and said so; the others go. Successors stay held behind. Letters of different partitions: `INPUT_INVALID`. A consumer's
   * batches that end meanwhile wait for it, so a thousand at once are too many. May be asked again after `COMMIT_UNKNOWN`: what was done is `not-dead` then.
   */
  redrive(letters: readonly RedriveLetter[], options: Omit<ChangeOptions, 'version'>): Promise<readonly RedriveOutcome[]>
}

export interface DeadLetterStore extends LetterQueries, LetterChanges {}
