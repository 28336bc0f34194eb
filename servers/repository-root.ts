import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the repository. */
export const repositoryRoot = dirname(dirname(fileURLToPath(import.meta.url)))

/** What is kept between runs and never committed. */
export const keptBetweenRuns = join(repositoryRoot, '.tidemark')
