/**
 * The public surface as text: one file per entry in etc/, every exported name with its declaration as the compiler emits it, without comments.
 * A change of the surface is thereby a change of a file that a reviewer sees. Declarations that the surface leans on although no entry exports
 * them can break a user too: they stand in etc/not-exported.api.md, once for all entries.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import ts from 'typescript'
import { entries } from './entries.mjs'

/** Of each differing report. Enough to recognise a change; a report that is wholly new would otherwise bury the other complaints. */
const linesShown = 30

const printer = ts.createPrinter({ removeComments: true, newLine: ts.NewLineKind.LineFeed })

/**
 * Compares etc/*.api.md with the built declarations, or writes them.
 *
 * @param {string} root
 * @param {{ update: boolean }} options
 * @returns {string} what differs, empty when nothing does
 */
export function checkApiReports(root, { update }) {
  const folder = join(root, 'etc')
  mkdirSync(folder, { recursive: true })
  const reports = apiReports(root)
  const stale = readdirSync(folder).filter((file) => file.endsWith('.api.md') && !reports.has(file))
  if (update) {
    for (const file of stale) rmSync(join(folder, file))
    for (const [file, text] of reports) writeFileSync(join(folder, file), text)
    return ''
  }
  const changed = [...reports].flatMap(([file, text]) =>
    difference(file, existsSync(join(folder, file)) ? readFileSync(join(folder, file), 'utf8') : '', text),
  )
  const lines = [...stale.map((file) => `etc/${file} is the report of an entry that no longer exists`), ...changed]
  return lines.length === 0
    ? ''
    : [...lines, 'If the change of the public surface is meant: npm run api:update, and say it in CHANGELOG.md.'].join('\n')
}

/**
 * @param {string} file
 * @param {string} recorded
 * @param {string} actual
 * @returns {string[]} the lines that only one of the two has
 */
function difference(file, recorded, actual) {
  if (recorded === actual) return []
  const before = recorded.split('\n')
  const after = actual.split('\n')
  const gone = before.filter((line) => !after.includes(line)).map((line) => `  - ${line}`)
  const come = after.filter((line) => !before.includes(line)).map((line) => `  + ${line}`)
  const shown = [...gone, ...come].slice(0, linesShown)
  const rest = gone.length + come.length - shown.length
  return [`etc/${file} is not the surface of the built package:`, ...shown, ...(rest > 0 ? [`  and ${rest} lines more`] : [])]
}

/**
 * @param {string} root
 * @returns {Map<string, string>} text by file name
 */
function apiReports(root) {
  const all = entries(root).filter(({ types }) => existsSync(types))
  const program = ts.createProgram(
    all.map(({ types }) => types),
    {
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      target: ts.ScriptTarget.ES2023,
      skipLibCheck: true,
      types: ['node'],
    },
  )
  const surfaces = all.map((entry) => ({ entry, names: exportedSymbols(program, entry.types) }))
  const reports = surfaces.map(({ entry, names }) => /** @type {const} */ ([`${entry.name}.api.md`, page(titleOf(entry), names)]))
  const hidden = hiddenSymbols(root, program, new Set(surfaces.flatMap(({ names }) => [...names.values()])))
  return new Map([...reports, ['not-exported.api.md', page('Leaned on by the surface, exported by no entry', hidden)]])
}

/** @param {import('./entries.mjs').Entry} entry */
function titleOf({ subpath, name }) {
  return subpath === '.' ? name : `tidemark/${name}`
}

/**
 * @param {import('typescript').Program} program
 * @param {string} file
 * @returns {Map<string, import('typescript').Symbol>}
 */
function exportedSymbols(program, file) {
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(file)
  const module = source && checker.getSymbolAtLocation(source)
  if (module === undefined) return new Map()
  const named = checker.getExportsOfModule(module).map((symbol) => /** @type {const} */ ([symbol.name, resolveAlias(checker, symbol)]))
  return new Map(named.sort(([one], [other]) => (one < other ? -1 : 1)))
}

/**
 * @param {import('typescript').TypeChecker} checker
 * @param {import('typescript').Symbol} symbol
 */
function resolveAlias(checker, symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}

/**
 * @param {string} title
 * @param {ReadonlyMap<string, import('typescript').Symbol>} names
 */
function page(title, names) {
  const text = [...names].map(([name, symbol]) => declarationText(name, symbol)).join('\n\n')
  return `# ${title}\n\nWritten by \`npm run api:update\`; compared by \`npm run verify\`.\n\n\`\`\`ts\n${text}\n\`\`\`\n`
}

/**
 * What the exported declarations lean on, directly or through each other, and no entry exports. Two of one name are told apart by a number.
 *
 * @param {string} root
 * @param {import('typescript').Program} program
 * @param {ReadonlySet<import('typescript').Symbol>} exported
 * @returns {Map<string, import('typescript').Symbol>}
 */
function hiddenSymbols(root, program, exported) {
  const checker = program.getTypeChecker()
  const seen = new Set(exported)
  const pending = [...exported]
  /** @type {import('typescript').Symbol[]} */
  const hidden = []
  for (let symbol = pending.pop(); symbol !== undefined; symbol = pending.pop()) {
    for (const leaned of (symbol.declarations ?? []).flatMap((declaration) => referencedSymbols(checker, declaration))) {
      if (seen.has(leaned) || !isTopLevelOfOurs(root, leaned)) continue
      seen.add(leaned)
      hidden.push(leaned)
      pending.push(leaned)
    }
  }
  const placed = hidden.map((symbol) => ({ symbol, place: `${symbol.name} ${symbol.declarations?.[0]?.getSourceFile().fileName ?? ''}` }))
  placed.sort((one, other) => (one.place < other.place ? -1 : 1))
  const names = placed.map(({ symbol }, index) => {
    const earlier = placed.slice(0, index).filter((other) => other.symbol.name === symbol.name).length
    return /** @type {const} */ ([earlier === 0 ? symbol.name : `${symbol.name} (${earlier + 1})`, symbol])
  })
  return new Map(names)
}

/**
 * @param {import('typescript').TypeChecker} checker
 * @param {import('typescript').Node} node
 * @returns {import('typescript').Symbol[]}
 */
function referencedSymbols(checker, node) {
  /** @type {import('typescript').Symbol[]} */
  const found = []
  const visit = (/** @type {import('typescript').Node} */ each) => {
    if (ts.isIdentifier(each)) {
      const symbol = checker.getSymbolAtLocation(each)
      if (symbol !== undefined) found.push(resolveAlias(checker, symbol))
    }
    ts.forEachChild(each, visit)
  }
  visit(node)
  return found
}

/**
 * @param {string} root
 * @param {import('typescript').Symbol} symbol
 */
function isTopLevelOfOurs(root, symbol) {
  return (symbol.declarations ?? []).some((declaration) => {
    const file = relative(root, declaration.getSourceFile().fileName).split(sep).join('/')
    return file.startsWith('dist/') && ts.isSourceFile(statementOf(declaration).parent) && !ts.isSourceFile(declaration)
  })
}

/**
 * @param {string} name
 * @param {import('typescript').Symbol} symbol
 */
function declarationText(name, symbol) {
  const alias = name === symbol.name ? '' : `// as ${name}\n`
  const texts = (symbol.declarations ?? []).map((declaration) => {
    const statement = statementOf(declaration)
    return printer.printNode(ts.EmitHint.Unspecified, statement, declaration.getSourceFile()).replace(/^(export )?(declare )?/, '')
  })
  return alias + texts.join('\n')
}

/**
 * `const x: T` is declared by `x: T`; what we print and place is the statement around it.
 *
 * @param {import('typescript').Node} declaration
 */
function statementOf(declaration) {
  return ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
}
