/**
 * Everything on Postgres: the service's database, and a broker for teams without Kafka.
 *
 * @module
 */
export { PostgresBroker, postgresBroker, type PostgresBrokerOptions } from './postgres-broker.ts'
