/**
 * The command line, for `bin/tidemark.js`.
 *
 * @module
 */

export { main as run } from './main.ts'
