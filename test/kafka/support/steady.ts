/** A broker that is killed must be quick to be missed, but not so quick that a busy machine makes a live one look dead. */
export const steadyOnABusyMachine = { 'broker.session.timeout.ms': 4_000, 'broker.heartbeat.interval.ms': 1_000 }
