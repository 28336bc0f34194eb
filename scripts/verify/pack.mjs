import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { capture } from './capture.mjs'

/**
 * Packs the built package of a folder, as npm would ship it.
 *
 * @param {string} folder where package.json and dist are
 * @param {string} destination an empty folder
 * @returns {Promise<string>} the path of the tarball
 */
export async function pack(folder, destination) {
  const packed = await capture('npm', ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', destination], folder)
  const tarball = readdirSync(destination).find((file) => file.endsWith('.tgz'))
  if (!packed.passed || tarball === undefined) throw new Error(`npm pack failed\n${packed.output}`)
  return join(destination, tarball)
}
