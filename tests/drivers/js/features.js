// What the language must do, in the driver's own syntax, with the results that a RethinkDB gives. Shared by both JavaScript
// drivers: `r` is either's. Each case: [name, query, expected]. expected: a value; sorted(value) where the order is open; error(/message/);
// or a function that judges the result.
'use strict';
const assert = require('node:assert');

const people = [
  { id: 1, name: 'Ada', age: 36, city: 'London', tags: ['math', 'code'] },
  { id: 2, name: 'Bob', age: 25, city: 'Paris', tags: ['code'] },
  { id: 3, name: 'Cy', age: 41, city: 'London', tags: [] },
  { id: 4, name: 'Dee', age: 25, city: 'Rome', tags: ['art', 'math'], pet: { name: 'Rex', legs: 4 } },
  { id: 5, name: 'Eve', age: null, city: 'Paris' },
];
const orders = [
  { id: 10, person: 1, total: 30, item: 'pen' },
  { id: 11, person: 1, total: 12.5, item: 'ink' },
  { id: 12, person: 2, total: 7, item: 'pen' },
  { id: 13, person: 3, total: 99, item: 'lamp' },
  { id: 14, person: 9, total: 1, item: 'nib' },
];

class Sorted { constructor(rows) { this.rows = rows; } }
class Failure { constructor(message, kind) { this.message = message; this.kind = kind; } }
const sorted = (rows) => new Sorted(rows);
const error = (message, kind) => new Failure(message, kind);
const canonical = (v) => {
  if (Array.isArray(v)) return `[${v.map(canonical).join(',')}]`;
  if (v && typeof v === 'object' && !(v instanceof Date) && !Buffer.isBuffer(v)) {
    return `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${canonical(v[k])}`).join(',')}}`;
  }
  return JSON.stringify(v);
};

function check(actual, expected) {
  if (expected instanceof Sorted) {
    assert.ok(Array.isArray(actual), `an array, not ${canonical(actual)}`);
    assert.deepStrictEqual(actual.map(canonical).sort(), expected.rows.map(canonical).sort());
  } else if (typeof expected === 'function') {
    expected(actual);
  } else {
    assert.strictEqual(canonical(actual), canonical(expected));
  }
}

function cases(r, db) {
  const p = r.db(db).table('people');
  const o = r.db(db).table('orders');
  const t = r.db(db).table('scratch');
  const ids = (rows) => rows.map((x) => x('id'));
  return [
    // databases and tables
    ['dbList', () => r.dbList(), (x) => assert.ok(x.includes(db))],
    ['dbCreate', () => r.dbCreate('feature_db'), (x) => {
      assert.strictEqual(x.dbs_created, 1);
      assert.strictEqual(x.config_changes[0].old_val, null);
      assert.strictEqual(x.config_changes[0].new_val.name, 'feature_db');
    }],
    ['dbCreate twice', () => r.dbCreate('feature_db'), error(/Database `feature_db` already exists\./, 'op_failed')],
    ['dbCreate bad name', () => r.dbCreate('a b'), error(/Database name `a b` invalid \(Use A-Z, a-z, 0-9, _ and - only\)\./, 'logic')],
    ['tableCreate', () => r.db('feature_db').tableCreate('x', { primaryKey: 'key' }), (x) => {
      assert.strictEqual(x.tables_created, 1);
      assert.strictEqual(x.config_changes[0].new_val.primary_key, 'key');
    }],
    ['tableCreate twice', () => r.db('feature_db').tableCreate('x'), error(/Table `feature_db\.x` already exists\./, 'op_failed')],
    ['tableList', () => r.db('feature_db').tableList(), ['x']],
    ['table config', () => r.db('feature_db').table('x').config(), (x) => {
      assert.strictEqual(x.db, 'feature_db');
      assert.strictEqual(x.name, 'x');
      assert.strictEqual(x.primary_key, 'key');
      assert.strictEqual(x.durability, 'hard');
    }],
    ['db config', () => r.db('feature_db').config()('name'), 'feature_db'],
    ['db info', () => r.db('feature_db').info().pluck('name', 'type'), { name: 'feature_db', type: 'DB' }],
    ['table info', () => r.db('feature_db').table('x').info().pluck('name', 'primary_key', 'type'), { name: 'x', primary_key: 'key', type: 'TABLE' }],
    ['tableDrop', () => r.db('feature_db').tableDrop('x'), (x) => assert.strictEqual(x.tables_dropped, 1)],
    ['tableDrop twice', () => r.db('feature_db').tableDrop('x'), error(/Table `feature_db\.x` does not exist\./, 'op_failed')],
    ['dbDrop', () => r.dbDrop('feature_db'), (x) => assert.strictEqual(x.dbs_dropped, 1)],
    ['dbDrop twice', () => r.dbDrop('feature_db'), error(/Database `feature_db` does not exist\./, 'op_failed')],
    ['no such table', () => r.db(db).table('nope'), error(/Table `\w+\.nope` does not exist\./, 'op_failed')],
    ['no such db', () => r.db('nope').table('x'), error(/Database `nope` does not exist\./, 'op_failed')],

    // insert
    ['insert one', () => t.insert({ id: 1, a: 1 }), { deleted: 0, errors: 0, inserted: 1, replaced: 0, skipped: 0, unchanged: 0 }],
    ['insert many', () => t.insert([{ id: 2, a: 2 }, { id: 3, a: 3 }]), { deleted: 0, errors: 0, inserted: 2, replaced: 0, skipped: 0, unchanged: 0 }],
    ['insert duplicate', () => t.insert({ id: 1, a: 9 }), (x) => {
      assert.strictEqual(x.errors, 1);
      assert.strictEqual(x.first_error, 'Duplicate primary key `id`:\n{\n\t"a":\t1,\n\t"id":\t1\n}\n{\n\t"a":\t9,\n\t"id":\t1\n}');
    }],
    ['insert conflict update', () => t.insert({ id: 1, b: 5 }, { conflict: 'update' }).pluck('replaced', 'errors'), { replaced: 1, errors: 0 }],
    ['insert conflict replace', () => t.insert({ id: 1, c: 6 }, { conflict: 'replace', returnChanges: true }).without('deleted', 'skipped'), {
      inserted: 0, replaced: 1, unchanged: 0, errors: 0, changes: [{ old_val: { id: 1, a: 1, b: 5 }, new_val: { id: 1, c: 6 } }] }],
    ['insert conflict function', () => t.insert({ id: 1, c: 4 }, { conflict: (id, old, neu) => old.merge({ c: old('c').add(neu('c')) }) })('replaced'), 1],
    ['conflict function worked', () => t.get(1), { id: 1, c: 10 }],
    ['insert same again', () => t.insert({ id: 1, c: 10 }, { conflict: 'replace' })('unchanged'), 1],
    ['insert generated key', () => t.insert({ g: 1 }), (x) => {
      assert.strictEqual(x.generated_keys.length, 1);
      assert.match(x.generated_keys[0], /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
    }],
    ['insert returnChanges', () => t.insert({ id: 50 }, { returnChanges: true })('changes'), [{ old_val: null, new_val: { id: 50 } }]],
    ['insert returnChanges always', () => t.insert([{ id: 50 }, { id: 51 }], { returnChanges: 'always' })('changes').map((c) => c.hasFields('error')), [true, false]],
    ['insert a sequence', () => t.insert(r.range(60, 63).map((i) => ({ id: i })))('inserted'), 3],
    ['insert from table', () => t.insert(o.filter({ item: 'pen' }))('inserted'), 2],
    ['insert null key', () => t.insert({ id: null }), (x) => assert.match(x.first_error, /^Primary keys must be either a number, string, bool, pseudotype or array \(got type NULL\):/)],
    ['insert soft', () => t.insert({ id: 70 }, { durability: 'soft' })('inserted'), 1],
    ['insert no object', () => t.insert(1), error(/Expected type OBJECT but found NUMBER\.|Cannot convert NUMBER to SEQUENCE/, 'logic')],
    ['compound keys', () => t.insert({ id: ['a', 1] })('inserted'), 1],
    ['get by compound key', () => t.get(['a', 1]), { id: ['a', 1] }],

    // get, getAll, between
    ['get', () => p.get(2)('name'), 'Bob'],
    ['get missing', () => p.get(99), null],
    ['get missing field', () => p.get(99)('name'), error(/Cannot perform bracket on a non-object non-sequence `null`\./, 'non_existence')],
    ['getAll', () => p.getAll(3, 1)('name'), sorted(['Ada', 'Cy'])],
    ['getAll double', () => p.getAll(1, 1).count(), 2],
    ['getAll args', () => p.getAll(r.args([1, 2])).count(), 2],
    ['getAll none', () => p.getAll(), []],
    ['between', () => ids(p.between(2, 4).orderBy('id')), [2, 3]],
    ['between closed', () => ids(p.between(2, 4, { rightBound: 'closed', leftBound: 'open' }).orderBy('id')), [3, 4]],
    ['between minval', () => p.between(r.minval, 3).count(), 2],
    ['between maxval', () => p.between(4, r.maxval).count(), 2],

    // filter
    ['filter object', () => p.filter({ city: 'London' })('name'), sorted(['Ada', 'Cy'])],
    ['filter nested', () => p.filter({ pet: { legs: 4 } })('name'), ['Dee']],
    ['filter function', () => p.filter((x) => x('age').gt(30))('name'), sorted(['Ada', 'Cy'])],
    ['filter row', () => p.filter(r.row('age').eq(25))('name'), sorted(['Bob', 'Dee'])],
    ['filter skips missing', () => p.filter((x) => x('pet')('legs').eq(4)).count(), 1],
    ['filter default true', () => p.filter((x) => x('pet')('legs').eq(4), { default: true }).count(), 5],
    ['filter default error', () => p.filter((x) => x('pet')('legs').eq(4), { default: r.error() }), error(/No attribute `pet` in object:/, 'non_existence')],
    ['filter array', () => r.expr([1, 2, 3, 4]).filter((x) => x.mod(2).eq(0)), [2, 4]],

    // update, replace, delete
    ['update', () => t.get(2).update({ a: 20, n: { x: 1 } })('replaced'), 1],
    ['update merges', () => t.get(2).update({ n: { y: 2 } }, { returnChanges: true })('changes')(0)('new_val'), { id: 2, a: 20, n: { x: 1, y: 2 } }],
    ['update function', () => t.get(2).update((x) => ({ a: x('a').add(1) }))('replaced'), 1],
    ['update row', () => t.get(2).update({ a: r.row('a').mul(2) })('replaced'), 1],
    ['updated', () => t.get(2)('a'), 42],
    ['update unchanged', () => t.get(2).update({ a: 42 })('unchanged'), 1],
    ['update missing', () => t.get(777).update({ a: 1 })('skipped'), 1],
    ['update key', () => t.get(2).update({ id: 3 }), (x) => assert.match(x.first_error, /^Primary key `id` cannot be changed/)],
    ['update many', () => t.between(60, 63).update({ m: true })('replaced'), 3],
    ['update always', () => t.get(2).update({ a: 42 }, { returnChanges: 'always' })('changes').count(), 1],
    ['update nondeterministic', () => t.get(2).update({ u: r.uuid() }), error(/Could not prove argument deterministic\.  Maybe you want to use the non_atomic flag\?/, 'logic')],
    ['update nonAtomic', () => t.get(2).update({ a: t.get(1)('c') }, { nonAtomic: true })('replaced'), 1],
    ['replace', () => t.get(3).replace({ id: 3, z: 1 })('replaced'), 1],
    ['replace function', () => t.get(3).replace((x) => x.without('z').merge({ y: 1 }), { returnChanges: true })('changes')(0), { old_val: { id: 3, z: 1 }, new_val: { id: 3, y: 1 } }],
    ['replace null deletes', () => t.get(3).replace(null)('deleted'), 1],
    ['replace inserts', () => t.get(3).replace({ id: 3 })('inserted'), 1],
    ['replace without key', () => t.get(3).replace({ q: 1 }), (x) => assert.match(x.first_error, /^Inserted object must have primary key `id`/)],
    ['delete one', () => t.get(3).delete({ returnChanges: true }), { deleted: 1, errors: 0, inserted: 0, replaced: 0, skipped: 0, unchanged: 0, changes: [{ old_val: { id: 3 }, new_val: null }] }],
    ['delete missing', () => t.get(3).delete()('skipped'), 1],
    ['delete many', () => t.between(60, 63).delete()('deleted'), 3],
    ['forEach', () => r.expr([1, 2, 3]).forEach((i) => t.insert({ id: i.add(200) }))('inserted'), 3],
    ['forEach update', () => t.getAll(201, 202).forEach((x) => t.get(x('id')).update({ f: 1 }))('replaced'), 2],
    ['sync', () => t.sync(), { synced: 1 }],
    ['delete all', () => t.delete({ durability: 'soft' })('errors'), 0],
    ['empty', () => t.isEmpty(), true],

    // transformations
    ['map', () => p.orderBy('id').map((x) => x('age').default(0)), [36, 25, 41, 25, 0]],
    ['map two', () => r.map([1, 2, 3], [10, 20], (a, b) => a.add(b)), [11, 22]],
    ['concatMap', () => p.concatMap((x) => x('tags').default([])), sorted(['math', 'code', 'code', 'art', 'math'])],
    ['pluck', () => p.get(4).pluck('id', { pet: 'legs' }), { id: 4, pet: { legs: 4 } }],
    ['pluck rows', () => p.orderBy('id').limit(2).pluck('name'), [{ name: 'Ada' }, { name: 'Bob' }]],
    ['without', () => p.get(2).without('tags', 'age'), { id: 2, name: 'Bob', city: 'Paris' }],
    ['merge', () => r.expr({ a: 1, b: { c: 1 } }).merge({ b: { d: 2 } }, { e: 3 }), { a: 1, b: { c: 1, d: 2 }, e: 3 }],
    ['merge function', () => p.get(2).pluck('age').merge((x) => ({ next: x('age').add(1) })), { age: 25, next: 26 }],
    ['hasFields', () => p.hasFields('tags').count(), 4],
    ['hasFields null', () => p.hasFields('age').count(), 4],
    ['hasFields nested', () => p.hasFields({ pet: { legs: true } })('id'), [4]],
    ['orderBy', () => p.orderBy('age', 'name')('name'), ['Eve', 'Bob', 'Dee', 'Ada', 'Cy']],
    ['orderBy desc', () => p.orderBy(r.desc('name'))('name').limit(2), ['Eve', 'Dee']],
    ['orderBy function', () => o.orderBy((x) => x('total').mul(-1))('id'), [13, 10, 11, 12, 14]],
    ['orderBy primary index', () => o.orderBy({ index: r.desc('id') })('id').limit(2), [14, 13]],
    ['limit', () => o.orderBy('id').limit(2)('id'), [10, 11]],
    ['skip', () => o.orderBy('id').skip(3)('id'), [13, 14]],
    ['slice', () => o.orderBy('id').slice(1, 3)('id'), [11, 12]],
    ['slice closed', () => r.expr([1, 2, 3, 4]).slice(1, 2, { rightBound: 'closed' }), [2, 3]],
    ['nth', () => o.orderBy('id').nth(1)('id'), 11],
    ['nth negative', () => o.orderBy('id').nth(-1)('id'), 14],
    ['nth outside', () => r.expr([1]).nth(5), error(/Index out of bounds: 5/, 'non_existence')],
    ['limit negative', () => o.limit(-1), error(/LIMIT takes a non-negative argument \(got -1\)/, 'logic')],
    ['union', () => r.expr([1, 2]).union([2, 3]), [1, 2, 2, 3]],
    ['union tables', () => p.union(o).count(), 10],
    ['zip without join', () => r.expr([{ left: { a: 1 }, right: { b: 2 } }]).zip(), [{ a: 1, b: 2 }]],
    ['sample', () => p.sample(3), (x) => assert.strictEqual(x.length, 3)],
    ['distinct', () => p('city').distinct(), ['London', 'Paris', 'Rome']],
    ['isEmpty', () => p.filter({ city: 'Oslo' }).isEmpty(), true],
    ['withFields', () => p.withFields('id', 'pet'), [{ id: 4, pet: { name: 'Rex', legs: 4 } }]],
    ['offsetsOf', () => r.expr(['a', 'b', 'a']).offsetsOf('a'), [0, 2]],

    // aggregation
    ['count', () => p.count(), 5],
    ['count value', () => p('city').count('Paris'), 2],
    ['count function', () => o.count((x) => x('total').gt(10)), 3],
    ['sum', () => o.sum('total'), 149.5],
    ['avg', () => o.avg('total'), 29.9],
    ['min', () => o.min('total')('id'), 14],
    ['max', () => o.max((x) => x('total'))('id'), 13],
    ['sum of nothing', () => r.expr([]).sum(), 0],
    ['avg of nothing', () => r.expr([]).avg(), error(/Cannot take the average of an empty stream\./, 'non_existence')],
    ['group count', () => p.group('city').count(), [{ group: 'London', reduction: 2 }, { group: 'Paris', reduction: 2 }, { group: 'Rome', reduction: 1 }]],
    ['group sum', () => o.group('item').sum('total'), [{ group: 'ink', reduction: 12.5 }, { group: 'lamp', reduction: 99 }, { group: 'nib', reduction: 1 }, { group: 'pen', reduction: 37 }]],
    ['group function', () => o.group((x) => x('total').gt(10)).count(), [{ group: false, reduction: 2 }, { group: true, reduction: 3 }]],
    ['group two', () => p.group('city', 'age').count().ungroup().count(), 5],
    ['group multi', () => p.filter((x) => x('tags').isEmpty().not()).group((x) => x('tags'), { multi: true }).count(), [{ group: 'art', reduction: 1 }, { group: 'code', reduction: 2 }, { group: 'math', reduction: 2 }]],
    ['group max', () => o.group('item').max('total')('id'), [{ group: 'ink', reduction: 11 }, { group: 'lamp', reduction: 13 }, { group: 'nib', reduction: 14 }, { group: 'pen', reduction: 10 }]],
    ['ungroup', () => p.group('city').count().ungroup().orderBy(r.desc('reduction'), 'group').limit(1), [{ group: 'London', reduction: 2 }]],
    ['group rows', () => o.group('item')('total').ungroup()(0), { group: 'ink', reduction: [12.5] }],
    ['reduce', () => o('total').reduce((a, b) => a.add(b)), 149.5],
    ['reduce nothing', () => r.expr([]).reduce((a, b) => a.add(b)), error(/Cannot reduce over an empty stream\./, 'non_existence')],
    ['contains', () => p('name').contains('Ada', 'Bob'), true],
    ['contains function', () => o.contains((x) => x('total').gt(1000)), false],

    // joins
    ['innerJoin', () => o.innerJoin(p, (a, b) => a('person').eq(b('id'))).count(), 4],
    ['outerJoin', () => o.outerJoin(p, (a, b) => a('person').eq(b('id'))).filter((x) => x.hasFields('right').not()).map((x) => x('left')('id')), [14]],
    ['eqJoin', () => o.eqJoin('person', p).zip().pluck('item', 'name').orderBy('item', 'name'), [
      { item: 'ink', name: 'Ada' }, { item: 'lamp', name: 'Cy' }, { item: 'pen', name: 'Ada' }, { item: 'pen', name: 'Bob' }]],
    ['eqJoin function', () => o.eqJoin((x) => x('person'), p).count(), 4],

    // control
    ['branch', () => r.branch(false, 1, r.expr(2).gt(1), 2, 3), 2],
    ['do', () => r.do(1, 2, (a, b) => a.add(b)), 3],
    ['expr do', () => r.expr(5).do((x) => x.mul(x)), 25],
    ['default', () => r.expr({})('a').default('none'), 'none'],
    ['default on null', () => r.expr(null).default(1), 1],
    ['default on error', () => r.error('x').default(1), error(/^x/, 'user')],
    ['error', () => r.error('my own words'), error(/my own words/, 'user')],
    ['range', () => r.range(4), [0, 1, 2, 3]],
    ['range two', () => r.range(-1, 2), [-1, 0, 1]],
    ['json', () => r.json('{"a":[1,{"b":null}]}'), { a: [1, { b: null }] }],
    ['bad json', () => r.json('{"a":'), error(/Failed to parse "\{"a":" as JSON:/, 'logic')],
    ['args', () => r.branch(r.args([true, 1, 2])), 1],
    ['uuid', () => r.uuid(), (x) => assert.match(x, /^[0-9a-f-]{36}$/)],
    ['uuid of', () => r.uuid('slava@example.com'), '90691cbc-b5ea-5826-ae98-951e30fc3b2d'],
    ['typeOf', () => r.expr([r.expr(1).typeOf(), r.expr('s').typeOf(), r.expr(null).typeOf(), r.expr([]).typeOf(), r.expr({}).typeOf(), p.typeOf(), p.get(1).typeOf(), p.orderBy({ index: 'id' }).typeOf()]),
      ['NUMBER', 'STRING', 'NULL', 'ARRAY', 'OBJECT', 'TABLE', 'SELECTION<OBJECT>', 'TABLE_SLICE']],
    ['info', () => r.expr(1).info(), { type: 'NUMBER', value: '1' }],
    ['coerceTo', () => r.expr([r.expr(1).coerceTo('string'), r.expr('1.5').coerceTo('number'), r.expr([['a', 1]]).coerceTo('object'), r.expr({ a: 1 }).coerceTo('array'), r.expr(0).coerceTo('bool')]),
      ['1', 1.5, { a: 1 }, [['a', 1]], true]],
    ['coerceTo bad', () => r.expr('x').coerceTo('number'), error(/Could not coerce `x` to NUMBER\./, 'logic')],

    // arithmetic and logic
    ['arithmetic', () => r.expr([r.add(1, 2, 3), r.expr(7).sub(2), r.expr(2).mul(3), r.expr(7).div(2), r.expr(7).mod(4)]), [6, 5, 6, 3.5, 3]],
    ['add strings', () => r.expr('a').add('b', 'c'), 'abc'],
    ['add arrays', () => r.expr([1]).add([2]), [1, 2]],
    ['floor ceil round', () => r.expr([r.floor(1.7), r.ceil(1.2), r.round(2.5)]), [1, 2, 3]],
    ['divide by zero', () => r.expr(1).div(0), error(/Cannot divide by zero\./, 'logic')],
    ['add types', () => r.expr(1).add('a'), error(/Expected type NUMBER but found STRING\./, 'logic')],
    ['comparison', () => r.expr([r.lt(1, 2, 3), r.expr(1).ge(2), r.eq(1, 1, 1), r.expr('a').ne('b'), r.gt('b', 'a'), r.le(2, 2)]), [true, false, true, true, true, true]],
    ['order of types', () => r.expr([{}, 'a', 1, null, true, [1]]).orderBy((x) => x), [[1], true, null, 1, {}, 'a']],
    ['logic', () => r.expr([r.and(true, true), r.or(false, true), r.not(true), r.expr(true).and(null)]), [true, true, false, null]],

    // strings
    ['match', () => r.expr('id:0,name:mlucy').match('name:(\\w+)')('groups')(0)('str'), 'mlucy'],
    ['match none', () => r.expr('abc').match('^x'), null],
    ['match bad', () => r.expr('abc').match('('), error(/Error in regexp `\(` \(portion `.*`\): missing (closing )?\)/, 'logic')],
    ['split', () => r.expr('a b  c').split(), ['a', 'b', 'c']],
    ['split on', () => r.expr('a,b,c').split(',', 1), ['a', 'b,c']],
    ['upcase downcase', () => r.expr('aB').upcase().add(r.expr('aB').downcase()), 'ABab'],
    ['string count', () => r.expr('né').count(), 2],
    ['toJSON', () => r.expr({ b: 1, a: [] }).toJSON(), '{"a":[],"b":1}'],

    // objects and arrays
    ['keys', () => r.expr({ b: 1, a: 2 }).keys(), ['a', 'b']],
    ['object', () => r.object('a', 1, 'b', 2), { a: 1, b: 2 }],
    ['append', () => r.expr([1]).append(2), [1, 2]],
    ['setUnion', () => r.expr([1, 2]).setUnion([2, 3]), [1, 2, 3]],
    ['literal array of objects', () => r.expr([{ a: [1, [2]] }]), [{ a: [1, [2]] }]],
    ['unicode', () => r.expr({ 'ключ': '值😀' }), { 'ключ': '值😀' }],
    ['numbers', () => r.expr([0.1, 1e21, -5e-324, 9007199254740991, 123456789.125]), [0.1, 1e21, -5e-324, 9007199254740991, 123456789.125]],

    // times
    ['ISO8601', () => r.ISO8601('1986-11-03T08:30:00-07:00'), (x) => assert.strictEqual(x.getTime(), 531415800000)],
    ['epochTime', () => r.epochTime(531415800.25), (x) => assert.strictEqual(x.getTime(), 531415800250)],
    ['time parts', () => r.ISO8601('1986-11-03T08:30:15.5-07:00').do((x) => [x.year(), x.month(), x.day(), x.dayOfWeek(), x.dayOfYear(), x.hours(), x.minutes(), x.seconds(), x.timezone()]),
      [1986, 11, 3, 1, 307, 8, 30, 15.5, '-07:00']],
    ['time arithmetic', () => r.epochTime(100).add(5).sub(r.epochTime(50)), 55],
    ['time text', () => r.epochTime(0).toISO8601(), '1970-01-01T00:00:00+00:00'],
    ['time zones', () => r.epochTime(0).inTimezone('+02:00').hours(), 2],
    ['date', () => r.ISO8601('1986-11-03T08:30:00Z').date().toEpochTime(), 531360000],
    ['timeOfDay', () => r.ISO8601('1986-11-03T08:30:00Z').timeOfDay(), 30600],
    ['r.time', () => r.time(2020, 2, 29, 'Z').toEpochTime(), 1582934400],
    ['during', () => r.epochTime(5).during(r.epochTime(0), r.epochTime(10)), true],
    ['now', () => r.now(), (x) => assert.ok(Math.abs(x.getTime() - Date.now()) < 60000)],
    ['now is one moment', () => r.now().eq(r.now()), true],
    ['send a date', () => r.expr(new Date(86400000)).toEpochTime(), 86400],
    ['store a date', () => t.insert({ id: 'date', at: new Date(1234567890123) })('inserted'), 1],
    ['stored date', () => t.get('date')('at'), (x) => assert.strictEqual(x.getTime(), 1234567890123)],
    ['bad time', () => r.ISO8601('nonsense'), error(/Invalid date string `nonsense`/, 'logic')],

    // binary
    ['binary', () => r.binary(Buffer.from([0, 1, 255])), (x) => assert.deepStrictEqual([...x], [0, 1, 255])],
    ['binary count', () => r.binary(Buffer.alloc(1000, 7)).count(), 1000],
    ['binary slice', () => r.binary(Buffer.from('hello')).slice(1, 3), (x) => assert.strictEqual(x.toString(), 'el')],
    ['store binary', () => t.insert({ id: 'bin', data: Buffer.alloc(300, 'é') })('inserted'), 1],
    ['stored binary', () => t.get('bin')('data'), (x) => assert.deepStrictEqual(x, Buffer.alloc(300, 'é'))],
    ['binary typeOf', () => r.binary(Buffer.from('x')).typeOf(), 'PTYPE<BINARY>'],

    // what has no changes says so; those that there are: feeds_test.js
    ['changes of an array', () => r.expr([1, 2]).changes(), error(/^Cannot call `changes` on an eager stream/, 'logic')],
    ['changes of any rows', () => p.limit(1).changes(), error(/^Cannot get changes on the first elements of an unordered stream/, 'logic')],
  ];
}

module.exports = { cases, check, people, orders, Failure, Sorted, sorted, error, canonical };
