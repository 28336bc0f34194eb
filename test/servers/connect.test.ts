import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Connect, startConnect } from '../../servers/connect.ts'
import { pidExists } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { kafkaAvailable, ownKafkaAvailable, testKafka, type TestKafka } from '../support/kafka.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { createTopic, read } from './kafka-clients.ts'

const missing = kafkaAvailable.missing || ownKafkaAvailable.missing

describe.skipIf(missing)(`Kafka Connect with Debezium${ownKafkaAvailable.note}`, async () => {
  const database = await testDatabase('debezium')
  const pool = database.pool()
  let kafka: TestKafka
  let connect: Connect
  beforeAll(async () => {
    kafka = await testKafka()
    connect = await startConnect({ kafka })
    await pool.query(
      'create table outbox (id uuid primary key, aggregatetype text not null, aggregateid text not null, type text not null, payload jsonb)',
    )
  })
  afterAll(async () => {
    await connect.stop()
    const slots = `select slot_name from pg_replication_slots where database = current_database()`
    await until('no slot is in use', async () => (await pool.query(`${slots} and active`)).rows.length === 0)
    await pool.query(`select pg_drop_replication_slot(slot_name) from (${slots}) as left_over`)
  })

  const outbox = (prefix: string): Record<string, string> => {
    const { host, port, user, password } = database.connection()
    return {
      'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
      'plugin.name': 'pgoutput',
      'database.hostname': host,
      'database.port': String(port),
      'database.user': user,
      'database.password': password,
      'database.dbname': database.name,
      'topic.prefix': prefix,
      'slot.name': prefix.replaceAll('-', '_'),
      'publication.autocreate.mode': 'filtered',
      'table.include.list': 'public.outbox',
      transforms: 'outbox',
      'transforms.outbox.type': 'io.debezium.transforms.outbox.EventRouter',
      'transforms.outbox.route.topic.replacement': `${prefix}.\${routedByValue}`,
      'value.converter': 'org.apache.kafka.connect.storage.StringConverter',
    }
  }
  const insert = (text: string): Promise<unknown> =>
    pool.query(`insert into outbox values ($1, 'order', 'o-1', 'Placed', to_jsonb($2::text))`, [randomUUID(), text])

  test('relays rows of an outbox, also those of the time in which it was dead', async () => {
    const prefix = kafka.name('relayed')
    await createTopic(kafka.brokers, `${prefix}.order`)
    await connect.createConnector('outbox', outbox(prefix))
    await insert('first')
    expect(await read(kafka.brokers, `${prefix}.order`, '"first"')).toEqual(['"first"'])
    await connect.kill()
    expect(connect.pid).toBeNull()
    await insert('second')
    await connect.restart()
    const values = await read(kafka.brokers, `${prefix}.order`, '"second"')
    // What it had not noted down when it was killed it sends again.
    expect([...new Set(values)]).toEqual(['"first"', '"second"'])
    expect((await connect.status('outbox'))?.connector.state).toBe('RUNNING')
    await connect.deleteConnector('outbox')
    expect(await connect.status('outbox')).toBeNull()
  })

  test('says why it refuses a connector', async () => {
    const wrong = { ...outbox('wrong'), 'database.password': 'wrong' }
    await expect(connect.createConnector('wrong', wrong)).rejects.toThrow(/refused the connector wrong.*password authentication failed/s)
  })

  test('tells its memory and its CPU time', async () => {
    const { residentBytes, peakResidentBytes, cpuSeconds } = await connect.usage()
    expect(residentBytes).toBeGreaterThan(50e6)
    expect(peakResidentBytes).toBeGreaterThanOrEqual(residentBytes)
    expect(cpuSeconds).toBeGreaterThan(0.5)
  })

  test('leaves no process and no directory when it is stopped', async () => {
    const other = await startConnect({ kafka })
    const { directory } = other
    const pid = other.pid!
    await other.stop()
    expect(pidExists(pid)).toBe(false)
    expect(existsSync(directory)).toBe(false)
  })
})
