// Compiles the numbered SQL files of src/drivers/postgres/migrations into compiled.ts, so that nothing reads the disk at run time.
// `--check` compares instead of writing and fails when the module is out of date.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../src/drivers/postgres/migrations/', import.meta.url))
const target = `${folder}compiled.ts`

const sets = ['service', 'log'].map((set) => `  ${set}: [\n${migrations(set).map(entry).join('')}  ],\n`)
const compiled = `// Written by scripts/compile-migrations.mjs from the numbered files beside it. Change those, then run it.\n
/** One numbered file. \`{schema}\` stands for the quoted name of the schema. */
export interface Migration {
  readonly version: number
  /** sha256 of \`sql\`, in hex. */
  readonly checksum: string
  readonly sql: string
}

/** Tables of a service's own database, and of the broker's log. */
export type MigrationSet = 'service' | 'log'

// prettier-ignore
export const migrations: Readonly<Record<MigrationSet, readonly Migration[]>> = {
${sets.join('')}}
`

if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== compiled) {
    console.error('src/drivers/postgres/migrations/compiled.ts is out of date: run node scripts/compile-migrations.mjs')
    process.exit(1)
  }
} else {
  writeFileSync(target, compiled)
}

/** @param {string} set */
function migrations(set) {
  if (!existsSync(`${folder}${set}`)) return []
  const files = readdirSync(`${folder}${set}`)
    .filter((name) => name.endsWith('.sql'))
    .sort()
  return files.map((name, i) => {
    const version = Number(name.slice(0, -4))
    if (!/^\d{6}\.sql$/.test(name) || version !== i + 1) throw new Error(`${set}/${name}: expected ${String(i + 1).padStart(6, '0')}.sql`)
    const sql = readFileSync(`${folder}${set}/${name}`, 'utf8').replaceAll('\r\n', '\n')
    return { version, checksum: createHash('sha256').update(sql).digest('hex'), sql }
  })
}

/** @param {{ version: number, checksum: string, sql: string }} migration */
function entry({ version, checksum, sql }) {
  const literal = sql.replaceAll('\\', '\\\\').replaceAll('`', '\\`').replaceAll('${', '\\${')
  return `    {\n      version: ${version},\n      checksum: '${checksum}',\n      sql: \`${literal}\`,\n    },\n`
}
