/** Compiles src: JavaScript, declarations, and maps of both, from nothing. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { formatDiagnostics } from './diagnostics.mjs'

/**
 * @param {string} root
 * @param {string} [out] the folder to fill; what was in it goes
 * @returns {string} the compiler's complaints, empty when there are none
 */
export function build(root, out = join(root, 'dist')) {
  rmSync(out, { recursive: true, force: true })
  const config = ts.getParsedCommandLineOfConfigFile(
    join(root, 'tsconfig.build.json'),
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: fail },
  )
  if (config === undefined) return 'tsconfig.build.json cannot be read'
  const program = ts.createProgram(config.fileNames, { ...config.options, outDir: out })
  const { diagnostics } = program.emit()
  const complaints = [...config.errors, ...ts.getPreEmitDiagnostics(program), ...diagnostics]
  if (complaints.length > 0) return formatDiagnostics(complaints, root)
  pointDeclarationsAtJavaScript(out)
  return ''
}

/** @param {import('typescript').Diagnostic} diagnostic */
function fail(diagnostic) {
  throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'))
}

/**
 * The compiler rewrites `./x.ts` to `./x.js` in JavaScript but not in declarations. Both spellings are equally long, so the maps stay true.
 *
 * @param {string} folder
 */
function pointDeclarationsAtJavaScript(folder) {
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.d.ts')) continue
    const path = join(folder, file)
    const text = readFileSync(path, 'utf8')
    const rewritten = text.replace(/((?:\bfrom|\bimport) ?\(?)(['"])(\.{1,2}\/[^'"]+)\.ts\2/g, '$1$2$3.js$2')
    if (rewritten !== text) writeFileSync(path, rewritten)
  }
}
