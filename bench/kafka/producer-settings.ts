/** Of Kafka's own producer, by name, as `--tune` tries them; the best stands first. Acknowledgement by all and idempotence are on in all of them. */
export const producerSettings: Readonly<Record<string, Readonly<Record<string, string | number>>>> = {
  'batches of 1 MB': { 'batch.size': 1_000_000, 'linger.ms': 20, 'buffer.memory': 67_108_864, 'max.request.size': 8_388_608 },
  'batches of 256 KiB': { 'batch.size': 262_144, 'linger.ms': 10, 'buffer.memory': 67_108_864 },
  'batches of 64 KiB': { 'batch.size': 65_536, 'linger.ms': 5, 'buffer.memory': 67_108_864 },
  'the defaults': {},
}
