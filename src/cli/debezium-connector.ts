import { storedHeadersHeader } from '../message/wire.ts'

/** What the connector needs to know. Everything that can be is a name; the password is only referred to. */
export interface DebeziumSettings {
  readonly name: string
  /** `null`: each is a reference to the worker's environment. */
  readonly database: { readonly host: string; readonly port: string; readonly database: string } | null
  readonly user: string
  /** A reference that Connect resolves, such as `${file:/run/secrets/database.properties:password}`. */
  readonly password: string
  /** Names the connector's offsets and its heartbeat topic; unique in the Kafka cluster. */
  readonly topicPrefix: string
  /** Unique in the Postgres server. */
  readonly slot: string
  readonly publication: string
  /** Of Tidemark's tables. */
  readonly schema: string
  /** What is in the table when the connector starts for the first time. */
  readonly snapshot: 'initial' | 'no_data'
  /** Of topics that do not exist yet. */
  readonly partitions: number
}

/** As Kafka Connect takes it: `POST /connectors`. */
export interface ConnectorDocument {
  readonly name: string
  readonly config: Readonly<Record<string, string>>
}

/**
 * A Debezium Postgres connector whose outbox router puts on Kafka what our relay does: the same topic, key, value and identity, and what else a
 * message carries as two headers, which `readEnvelope` takes apart. Only the coordinate is missing: our consumers tell repeats by the inbox then.
 */
export function debeziumConnector(settings: DebeziumSettings): ConnectorDocument {
  const { name, database, user, password, topicPrefix, slot, publication, schema, snapshot, partitions } = settings
  const table = `${schema}.outbox`
  return {
    name,
    config: {
      'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
      'tasks.max': '1',
      'database.hostname': database?.host ?? '${env:DATABASE_HOST}',
      'database.port': database?.port ?? '${env:DATABASE_PORT}',
      'database.dbname': database?.database ?? '${env:DATABASE_NAME}',
      'database.user': user,
      'database.password': password,
      'topic.prefix': topicPrefix,

      'plugin.name': 'pgoutput',
      'slot.name': slot,
      'publication.name': publication,
      // By us, since Debezium would leave out publish_via_partition_root, and then see partitions instead of the table.
      'publication.autocreate.mode': 'disabled',
      'table.include.list': table,
      // Of a type that Debezium does not know; it would leave it out with a warning.
      'column.exclude.list': `${table}.xid`,
      'tombstones.on.delete': 'false',
      // Its own four headers on every message.
      'extended.headers.enabled': 'false',
      'snapshot.mode': snapshot,
      ...(snapshot === 'initial' ? inOrderOfCommits(table) : {}),
      // So that the slot moves on when other tables change and this one does not.
      'heartbeat.interval.ms': '10000',

      // A topic that is missing, the heartbeats' included, would stop everything where brokers make none by themselves. -1: the cluster's own.
      'topic.creation.default.partitions': String(partitions),
      'topic.creation.default.replication.factor': '-1',
      'topic.creation.groups': 'heartbeat',
      'topic.creation.heartbeat.include': '__debezium-heartbeat[.].*',
      'topic.creation.heartbeat.partitions': '1',
      'topic.creation.heartbeat.replication.factor': '-1',

      transforms: 'outbox',
      'transforms.outbox.type': 'io.debezium.transforms.outbox.EventRouter',
      'transforms.outbox.route.topic.replacement': 'outbox.event.${routedByValue}',
      'transforms.outbox.table.expand.json.payload': 'false',
      'transforms.outbox.table.fields.additional.placement': `type:header:ce_type,headers:header:${storedHeadersHeader}`,

      'key.converter': 'org.apache.kafka.connect.storage.StringConverter',
      'header.converter': 'org.apache.kafka.connect.storage.StringConverter',
      // The payload's bytes as they are. Heartbeats are no bytes; those go through the other one.
      'value.converter': 'io.debezium.converters.BinaryDataConverter',
      'value.converter.delegate.converter.type': 'org.apache.kafka.connect.json.JsonConverter',
      'value.converter.delegate.converter.type.schemas.enable': 'false',
    },
  }
}

/** A snapshot reads the table in whatever order it lies; within a key the numbers are in the order of the commits. */
function inOrderOfCommits(table: string): Readonly<Record<string, string>> {
  return {
    'snapshot.select.statement.overrides': table,
    [`snapshot.select.statement.overrides.${table}`]: `select * from ${table} order by seq`,
  }
}

/** What has to be in the database before the connector starts. Run it as the owner of the table, or as a superuser. */
export function debeziumSql({ publication, schema, user }: Pick<DebeziumSettings, 'publication' | 'schema' | 'user'>): string {
  const role = `"${user.replaceAll('"', '""')}"`
  return [
    '-- wal_level must be logical. The role needs the attribute: alter role … replication login',
    `create publication "${publication}" for table "${schema}".outbox with (publish = 'insert', publish_via_partition_root = true);`,
    `grant usage on schema "${schema}" to ${role};`,
    `grant select on "${schema}".outbox to ${role};`,
  ].join('\n')
}
