import { defineConfig } from 'vitest/config'

export default defineConfig({
  // `import 'tidemark/outbox'` means the sources here, as it does for tsc and tsx: no test ever runs a stale build.
  resolve: { conditions: ['tidemark-source'] },
  ssr: { resolve: { conditions: ['tidemark-source'], externalConditions: ['tidemark-source'] } },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // A process per file: a test that kills, freezes or leaks cannot touch its neighbours.
    pool: 'forks',
    maxWorkers: 2,
    // Generous, because real servers start and crash in these tests on small shared machines. A limit here only ends a hung test.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
  },
})
