/**
 * What a run of the suite comes down to, from vitest's JSON report. Whatever keeps tests from running, a file that does not load, a crash of the
 * runner, an unhandled error, no test at all, counts as a failure: a suite that did not run has not passed.
 *
 * @param {unknown} report vitest's JSON report, `undefined` where it wrote none
 * @param {number} exitCode vitest's
 * @returns {{ passed: number, failed: number, skipped: number, line: string, exitCode: 0 | 1 }}
 */
export function summarise(report, exitCode) {
  const tests = files(report).flatMap((file) => file.assertionResults ?? [])
  const passed = tests.filter(({ status }) => status === 'passed').length
  const failedTests = tests.filter(({ status }) => status === 'failed').length
  const brokenFiles = files(report).filter(isBroken).length
  const skipped = tests.length - passed - failedTests
  const counted = failedTests + brokenFiles
  const failed = counted === 0 && (exitCode !== 0 || passed === 0) ? 1 : counted
  const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
  return { passed, failed, skipped, line, exitCode: failed === 0 ? 0 : 1 }
}

/**
 * @typedef {object} FileResult
 * @property {string} status
 * @property {{ status: string }[]} [assertionResults]
 */

/**
 * @param {unknown} report
 * @returns {FileResult[]}
 */
function files(report) {
  if (typeof report !== 'object' || report === null || !('testResults' in report) || !Array.isArray(report.testResults)) return []
  return report.testResults
}

/**
 * A file that failed although none of its tests did: it could not be loaded, or a hook of it failed.
 *
 * @param {FileResult} file
 */
function isBroken(file) {
  return file.status === 'failed' && !(file.assertionResults ?? []).some(({ status }) => status === 'failed')
}
