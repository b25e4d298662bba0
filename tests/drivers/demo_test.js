// The demo's data and queries, against the same computed here from the files, in plain JavaScript and by other ways.
'use strict';
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test, before, after } = require('node:test');
const r = require('rethinkdb');
const { startServer, binary } = require('./js/server.js');
const demo = path.join(__dirname, '..', '..', 'demo');
const { dataSets, load } = require(path.join(demo, 'data.js'));
const { queries } = require(path.join(demo, 'queries.js'));

const text = (table) => fs.readFileSync(dataSets.find((set) => set.table === table).file, 'utf8');
const movies = JSON.parse(text('movies'));
const flights = JSON.parse(text('flights'));
const routes = JSON.parse(text('routes'));
const quakes = JSON.parse(text('quakes')).features;
const cities = JSON.parse(text('cities'));
const airports = readCsv(text('airports'));

// Enough CSV for airports.csv, written without a look at ours.
function readCsv(source) {
  const records = [];
  for (const line of source.trim().split(/\r?\n/)) {
    records.push([...line.matchAll(/("(?:[^"]|"")*"|[^,]*)(,|$)/g)].map((m) => m[1]).slice(0, 7)
      .map((cell) => (cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell)));
  }
  const [names, ...rows] = records;
  return rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]])));
}

function groupBy(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const k = key(row);
    if (!groups.has(k)) groups.set(k, []);
    groups.get(k).push(row);
  }
  return [...groups];
}
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const utf8 = (a, b) => Buffer.compare(Buffer.from(String(a)), Buffer.from(String(b)));

let server;
let conn;
let asked;
before(async () => {
  server = await startServer();
  conn = await r.connect({ host: '127.0.0.1', port: server.port });
  load(binary, { host: '127.0.0.1', port: server.port, quiet: true });
  asked = Object.fromEntries(queries(r).map((q) => [q.name, q]));
});
after(async () => {
  await conn.close();
  await server.stop();
});

const ask = async (name) => (await asked[name].query.run(conn, asked[name].options || {})).toArray();
function near(actual, expected) {
  assert.strictEqual(actual.length, expected.length);
  actual.forEach((row, i) => {
    for (const [key, value] of Object.entries(expected[i])) {
      if (typeof value === 'number') assert.ok(Math.abs(row[key] - value) <= 1e-9 * Math.max(1, Math.abs(value)), `row ${i} ${key}: ${row[key]} is not ${value}`);
      else assert.deepStrictEqual(row[key], value, `row ${i} ${key}`);
    }
  });
}

test('row counts', async () => {
  const expected = { movies: 3201, flights: 231083, routes: 20000, airports: 3376, quakes: 1707, cities: 171075 };
  const read = { movies, flights, routes, airports, quakes, cities };
  for (const [table, count] of Object.entries(expected)) {
    assert.strictEqual(read[table].length, count, `the file of ${table}`);
    assert.strictEqual(await r.db('demo').table(table).count().run(conn), count, table);
  }
});

test('nothing is lost on the way', async () => {
  const back = await (await r.db('demo').table('quakes').orderBy({ index: 'id' }).run(conn)).toArray();
  assert.deepStrictEqual(back, [...quakes].sort((a, b) => utf8(a.id, b.id)));
  const row = await r.db('demo').table('airports').get('SFO').run(conn);
  const same = airports.find((a) => a.iata === 'SFO');
  assert.deepStrictEqual(row, { ...same, latitude: Number(same.latitude), longitude: Number(same.longitude) });
  for (const [table, rows, field] of [['flights', flights, 'delay'], ['flights', flights, 'distance'], ['movies', movies, 'IMDB Votes']]) {
    const expected = sum(rows.map((x) => x[field]).filter((x) => typeof x === 'number'));
    assert.strictEqual(await r.db('demo').table(table).filter((x) => x(field).typeOf().eq('NUMBER')).sum(field).run(conn), expected);
  }
  const title = (m) => JSON.stringify(m, Object.keys(m).sort());
  const films = await (await r.db('demo').table('movies').without('id').run(conn)).toArray();
  assert.deepStrictEqual(films.map(title).sort(), movies.map(title).sort());
});

test('directors', async () => near(await ask('directors'),
  groupBy(movies.filter((m) => m.Director !== null && typeof m['Worldwide Gross'] === 'number'), (m) => m.Director)
    .filter(([, films]) => films.length >= 3)
    .map(([director, films]) => ({ director, films: films.length, gross: sum(films.map((m) => m['Worldwide Gross'])) }))
    .sort((a, b) => b.gross - a.gross || utf8(a.director, b.director)).slice(0, 10)));

test('loved', async () => near(await ask('loved'),
  movies.filter((m) => m['IMDB Votes'] >= 100000 && m['IMDB Rating'] !== null)
    .map((m) => ({ title: String(m.Title), rating: m['IMDB Rating'], votes: m['IMDB Votes'] }))
    .sort((a, b) => b.rating - a.rating || b.votes - a.votes).slice(0, 10)));

test('genres', async () => near(await ask('genres'),
  groupBy(movies.filter((m) => m['Production Budget'] !== null && m['Worldwide Gross'] !== null && m['Major Genre'] !== null), (m) => m['Major Genre'])
    .map(([genre, films]) => {
      const budget = sum(films.map((m) => m['Production Budget']));
      const gross = sum(films.map((m) => m['Worldwide Gross']));
      return { genre, films: films.length, budget: budget / films.length, gross: gross / films.length, times: gross / budget };
    }).sort((a, b) => b.times - a.times)));

test('hours', async () => {
  const rows = await ask('hours');
  near(rows, groupBy(flights, (f) => Math.floor(f.time))
    .map(([hour, all]) => ({ hour, flights: all.length, delay: sum(all.map((f) => f.delay)) / all.length, late: all.filter((f) => f.delay > 60).length }))
    .sort((a, b) => a.hour - b.hour));
  assert.strictEqual(sum(rows.map((x) => x.flights)), 231083);
});

test('distances', async () => near(await ask('distances'),
  groupBy(flights, (f) => Math.floor(f.distance / 500) * 500)
    .map(([from, all]) => ({ from, delay: sum(all.map((f) => f.delay)) / all.length })).sort((a, b) => a.from - b.from)));

test('origins', async () => near(await ask('origins'),
  groupBy(routes, (f) => f.origin).filter(([, all]) => all.length >= 100)
    .map(([origin, all]) => ({ origin, flights: all.length, delay: sum(all.map((f) => f.delay)) / all.length, airport: airports.find((a) => a.iata === origin) }))
    .filter((x) => x.airport)
    .map(({ airport, ...x }) => ({ ...x, name: airport.name, city: airport.city, state: airport.state }))
    .sort((a, b) => b.delay - a.delay || utf8(a.origin, b.origin)).slice(0, 10)));

test('strongest', async () => near(await ask('strongest'),
  quakes.filter((q) => q.properties.type === 'earthquake')
    .map((q) => ({ id: q.id, mag: q.properties.mag, place: q.properties.place, at: new Date(q.properties.time), km: q.geometry.coordinates[2] }))
    .sort((a, b) => b.mag - a.mag || utf8(a.id, b.id)).slice(0, 10)));

test('shaken', async () => {
  const strongest = new Map();
  for (const q of quakes.filter((x) => x.properties.mag >= 3)) {
    for (const a of airports) {
      const [lng, lat] = q.geometry.coordinates;
      if ((lat - a.latitude) ** 2 + (lng - a.longitude) ** 2 < 1) {
        const known = strongest.get(a.iata);
        if (!known || known.mag < q.properties.mag) strongest.set(a.iata, { airport: a.iata, city: a.city, state: a.state, mag: q.properties.mag });
      }
    }
  }
  near(await ask('shaken'), [...strongest.values()].sort((a, b) => b.mag - a.mag || utf8(a.airport, b.airport)).slice(0, 10));
});

test('countries', async () => near(await ask('countries'),
  groupBy(cities, (c) => c.country).map(([country, all]) => ({ country, places: all.length }))
    .sort((a, b) => b.places - a.places || utf8(a.country, b.country)).slice(0, 10)));

test('names', async () => near(await ask('names'),
  groupBy(cities, (c) => c.name).map(([name, all]) => ({ name, places: all.length, countries: new Set(all.map((c) => c.country)).size }))
    .sort((a, b) => b.places - a.places || utf8(a.name, b.name)).slice(0, 10)));
