/**
 * The one table of who may import whom. A folder of src may import from folders of earlier rows and of its own row; never from a later one.
 * Inside the rows of patterns a cycle is still refused (`import-x/no-cycle`), so neighbours may build on each other in one direction.
 */
export const layers = [
  { name: 'ground', folders: ['internal', 'errors.ts', 'telemetry'] },
  { name: 'message', folders: ['message'] },
  { name: 'operation', folders: ['operation'] },
  { name: 'producing, deduplication, and what to do about failures', folders: ['outbox', 'inbox', 'retry'] },
  { name: 'consumer', folders: ['consumer'] },
  {
    name: 'the other patterns',
    folders: ['dead-letter', 'saga', 'channel', 'ordering', 'claim-check', 'view', 'replay', 'cdc'],
  },
  { name: 'drivers and what proves them', folders: ['drivers', 'conformance', 'testing'] },
  { name: 'service', folders: ['service'] },
  { name: 'console and command line', folders: ['console', 'cli'] },
]

export const drivers = ['memory', 'postgres', 'kafka', 'redis', 's3', 'file']

/**
 * The table as zones of `import-x/no-restricted-paths`: nothing in `target` may import anything in `from`.
 *
 * @returns {{ target: string, from: string | string[], message: string }[]}
 */
export function importZones() {
  return [...upwardZones(), ...driverZones(), ...frontDoorZones()]
}

function upwardZones() {
  return layers.flatMap((layer, index) => {
    const later = layers.slice(index + 1).flatMap(({ folders }) => folders.map((folder) => `./src/${folder}`))
    const message = `Imports point one way: "${layer.name}" stands below this. See CONTRIBUTING.md, "Where a change belongs".`
    return later.length === 0 ? [] : layer.folders.map((folder) => ({ target: `./src/${folder}`, from: later, message }))
  })
}

function driverZones() {
  return drivers.map((driver) => ({
    target: `./src/drivers/${driver}`,
    from: drivers.filter((other) => other !== driver).map((other) => `./src/drivers/${other}`),
    message: 'A driver never imports another driver; what they share belongs to the port or to src/internal.',
  }))
}

/** src/index.ts may import everything but the programs; nothing below the programs imports it. */
function frontDoorZones() {
  const inside = layers.flatMap(({ folders }) => folders).filter((folder) => !['console', 'cli'].includes(folder))
  return [
    {
      target: './src/index.ts',
      from: ['./src/console', './src/cli'],
      message: 'The front door does not bring the console or the command line.',
    },
    ...inside.map((folder) => ({
      target: `./src/${folder}`,
      from: './src/index.ts',
      message: 'Import the file itself, not the front door.',
    })),
  ]
}
