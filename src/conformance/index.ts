/**
 * Published suites, one per port: what every driver promises, as cases for any test runner.
 *
 * @module
 */
export { brokerCases, brokerOffers, type BrokerFixture, type BrokerSettings } from './broker.ts'
export { exercise, type Case, type Runner, type Subject } from './case.ts'
export { consumerStoreCases, type ConsumerStoreFixture } from './consumer-store.ts'
export { ledgerStoreCases, type LedgerStoreFixture } from './idempotency-ledger.ts'
export { deadLetterStoreCases, type DeadLetterStoreFixture, type WaitingMessage } from './dead-letter-store.ts'
export { operationStoreCases, type OperationStoreFixture } from './operation-store.ts'
export { inboxStoreCases, type InboxStoreFixture } from './inbox-store.ts'
export { outboxStoreCases, type OpenTransaction, type OutboxStoreFixture } from './outbox-store.ts'
