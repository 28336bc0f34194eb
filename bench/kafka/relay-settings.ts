/** How our relay is set up. */
export interface RelaySettings {
  /** Relay streams, each with a connection to Postgres and a producer of its own. */
  readonly streams: number
  /** Rows of a page. */
  readonly pageSize: number
  /** Options of Node. */
  readonly flags: readonly string[]
}

/** A relay makes much garbage that dies soon. Node lets the space for it grow to a hundred megabytes, of which a relay has no use, as its rate tells. */
const smallNurseries = ['--max-semi-space-size=4']

/** By the names they have in the document. The first one differs from a service as it comes by the flag alone. */
export const relaySettings: Readonly<Record<string, RelaySettings>> = {
  tidemark: { streams: 1, pageSize: 1_000, flags: smallNurseries },
  'tidemark (pages of 5,000)': { streams: 1, pageSize: 5_000, flags: [] },
  'tidemark (2 streams, pages of 5,000)': { streams: 2, pageSize: 5_000, flags: [] },
}

/** The relay whose memory is compared. */
export const plainRelay = 'tidemark'
