import { defineConfig } from 'vitest/config'
import { LongestFirst } from './test/support/longest-first.ts'

export default defineConfig({
  // `import 'tidemark/outbox'` means the sources here, as it does for tsc and tsx: no test ever runs a stale build.
  resolve: { conditions: ['tidemark-source'] },
  ssr: { resolve: { conditions: ['tidemark-source'], externalConditions: ['tidemark-source'] } },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // Generous, because real servers start and crash in these tests on small shared machines. A limit here only ends a hung test.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
    projects: [
      {
        extends: true,
        // Pure code: its files share processes, since starting one takes longer than most of them.
        test: { name: 'pure', include: ['src/**/*.test.ts', 'bench/**/*.test.ts'], isolate: false },
      },
      {
        extends: true,
        // A process per file: a test that kills, freezes or leaks cannot touch its neighbours.
        test: { name: 'real', include: ['test/**/*.test.ts'], isolate: true, globalSetup: ['test/support/global-setup.ts'] },
      },
    ],
  },
})
