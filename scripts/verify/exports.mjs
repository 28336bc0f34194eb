/** Looks at the package as npm would ship it: every entry is there, resolves for every kind of importer, and its types agree with its code. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { capture, tool } from './capture.mjs'
import { entries } from './entries.mjs'
import { pack } from './pack.mjs'

/**
 * @param {string} root
 * @returns {Promise<string>} complaints, empty when there are none
 */
export async function checkExports(root) {
  const absent = missingFiles(root)
  if (absent.length > 0) return absent.join('\n')
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-pack-'))
  try {
    const path = await pack(root, folder)
    const checks = [
      await capture(process.execPath, [tool(root, 'publint'), 'run', path, '--strict'], root),
      await capture(
        process.execPath,
        [tool(root, '@arethetypeswrong/cli', 'attw'), path, '--profile', 'esm-only', '--no-color', '--format', 'ascii'],
        root,
      ),
    ]
    return checks
      .filter(({ passed }) => !passed)
      .map(({ output }) => output)
      .join('\n')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** @param {string} root */
function missingFiles(root) {
  return entries(root).flatMap(({ subpath, source, types, javascript }) =>
    [source, types, javascript]
      .filter((file) => !existsSync(file))
      .map((file) => `${subpath} points to ${relative(root, file)}, which does not exist`),
  )
}
