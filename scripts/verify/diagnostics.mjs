import ts from 'typescript'

/**
 * @param {readonly import('typescript').Diagnostic[]} diagnostics
 * @param {string} root paths are shown relative to it
 */
export function formatDiagnostics(diagnostics, root) {
  return ts.formatDiagnostics(ts.sortAndDeduplicateDiagnostics(diagnostics), {
    getCurrentDirectory: () => root,
    getCanonicalFileName: (name) => name,
    getNewLine: () => '\n',
  })
}
