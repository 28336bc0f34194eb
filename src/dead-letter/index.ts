/**
 * The record of a message that failed for good: its bytes as they stood in the log, where they stood, and everything known of the failure.
 * It is written in the transaction that moves the position past the message, so it is there exactly once; and then it is looked at, edited, redriven or
 * discarded.
 *
 * @module
 */

export type { DeadLetterPolicy } from '../consumer/dead-letter-policy.ts'
export type { DeadLetter, FailedAttempt } from '../consumer/port.ts'
export { alertStep, defaultAlertSettings } from './alert/alert-machine.ts'
export type { AlertKind, AlertSettings, AlertState, AlertStep } from './alert/alert-machine.ts'
export { logNotifier } from './alert/log-notifier.ts'
export type { NoticeLog } from './alert/log-notifier.ts'
export type { Notice, Notify } from './alert/notice.ts'
export type { AlertStore, Contact } from './alert/port.ts'
export { watchLetters } from './alert/watch-letters.ts'
export type { LetterWatch, WatchOptions } from './alert/watch-letters.ts'
export { webhookNotifier } from './alert/webhook-notifier.ts'
export type { WebhookOptions } from './alert/webhook-notifier.ts'
export { deadLetterMessage } from './dead-letter-message.ts'
export type { DeadLetterMessage, OriginalEvent } from './dead-letter-message.ts'
export { DeadLetterManager } from './dead-letter-manager.ts'
export type {
  DeadLetterManagerOptions,
  DeadLetterStats,
  ManagerChangeOptions,
  ManagerEditOptions,
  ReplayFilter,
  ReplayOptions,
  ViewOptions,
} from './dead-letter-manager.ts'
export type { ActingOptions } from './letter-audit.ts'
export { editLetter } from './edit-letter.ts'
export type { EditOptions } from './edit-letter.ts'
export { schemaProblem } from './schema-problem.ts'
export type { Letter, LetterDetail, LetterEdit, LetterEvent, LetterGroup, LetterState } from './letter.ts'
export type {
  ChangeOptions,
  DeadLetterStore,
  GroupLetters,
  LetterChange,
  LetterChanges,
  LetterContent,
  LetterCount,
  LetterFilter,
  LetterPage,
  LetterQueries,
  LetterRef,
  LetterStats,
  RedriveLetter,
  RedriveOutcome,
  RedriveRefusal,
} from './port.ts'
export { filterFromParams, filterToParams } from './letter-filter.ts'
export type { RedriveHorizon } from './beyond-horizon.ts'
export { maxRedrives, redriveKind, redriveParams } from './redrive.ts'
export type { RedriveKindOptions, RedriveParams, SchemaProblem } from './redrive.ts'
