/** How our relay is set up. */
export interface RelaySettings {
  /** Relay streams, each with a connection to Postgres and a producer of its own. */
  readonly streams: number
  /** Rows of a page. */
  readonly pageSize: number
  /** Options of Node. */
  readonly flags: readonly string[]
}

/**
 * A relay keeps a page or two and drops them soon, so what it needs does not grow with the backlog. Node does not know that, and lets its heap grow instead of
 * looking for what can go.
 */
const smallHeap = ['--max-semi-space-size=4', '--max-old-space-size=96']

/** By the names they have in the document. The first one differs from a service as it comes by the flags alone. */
export const relaySettings: Readonly<Record<string, RelaySettings>> = {
  tidemark: { streams: 1, pageSize: 1_000, flags: smallHeap },
  'tidemark (Node as it comes)': { streams: 1, pageSize: 1_000, flags: [] },
  'tidemark (pages of 5,000)': { streams: 1, pageSize: 5_000, flags: [] },
  'tidemark (2 streams, pages of 5,000)': { streams: 2, pageSize: 5_000, flags: [] },
}

/** The relay whose memory is compared. */
export const plainRelay = 'tidemark'
