/** The command line in a process of its own, to be killed. */
import { main } from '../../../src/cli/main.ts'

process.exitCode = await main(process.argv.slice(2))
