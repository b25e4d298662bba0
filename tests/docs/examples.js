// The examples of a page of docs/: how they are written is told at the top of docs/query-language.md.
'use strict';
const assert = require('node:assert');

const anchorOf = (heading) => heading.toLowerCase().replace(/[^\w\- ]/g, '').replace(/ /g, '-');

// --- the page: sections with their examples ---
// An example: {line, code, kind: '=>' | '~>' | '!>', expected}
function readPage(text) {
  let section = { heading: 'the data', anchor: '', blocks: [] };
  const sections = [section];
  let block = null;
  text.split('\n').forEach((line, at) => {
    if (block) {
      if (line.startsWith('```')) {
        section.blocks.push(block);
        block = null;
      } else block.lines.push({ line, at: at + 1 });
    } else if (/^```js( setup)?$/.test(line)) {
      block = { setup: line.endsWith('setup'), at: at + 1, lines: [] };
    } else if (/^#{2,4} /.test(line)) {
      const heading = line.replace(/^#+ /, '');
      section = { heading, anchor: anchorOf(heading), blocks: [] };
      sections.push(section);
    }
  });
  return sections;
}

function examplesOf(block) {
  const examples = [];
  let code = '';
  let current = null;
  for (const { line, at } of block.lines) {
    const marked = line.match(/^(.*?)\s*\/\/([=~!]>) ?(.*)$/);
    const more = line.match(/^\s*\/\/ {2,}(.*)$/);
    if (marked) {
      current = { line: at, code: code + marked[1], kind: marked[2], expected: marked[3] };
      examples.push(current);
      code = '';
    } else if (more && current && !code.trim()) {
      current.expected += `\n${more[1]}`;
    } else {
      code += `${line}\n`;
    }
  }
  assert.ok(!code.replace(/\/\/.*$/gm, '').trim(), `line ${block.at}: an example without its result: ${code}`);
  return examples;
}

// --- judging ---
const REST = Symbol('rest');
const _ = { [REST]: true }; // anything; { a: 1, ..._ } an object that has at least this
const isAny = (x) => x === _;

function canonical(value) {
  if (Buffer.isBuffer(value)) return `binary ${value.toString('hex')}`;
  if (value instanceof Date) return `date ${value.getTime()}`;
  if (Array.isArray(value)) return value.map(canonical);
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, canonical(value[key])]));
  }
  return Object.is(value, -0) ? '-0' : value;
}

function fits(expected, actual) {
  if (isAny(expected)) return actual !== undefined;
  if (expected instanceof RegExp) return typeof actual === 'string' && expected.test(actual);
  if (Array.isArray(expected)) {
    return Array.isArray(actual) && actual.length === expected.length && expected.every((item, i) => fits(item, actual[i]));
  }
  if (expected && typeof expected === 'object' && !Buffer.isBuffer(expected) && !(expected instanceof Date)) {
    if (!actual || typeof actual !== 'object' || Array.isArray(actual) || actual instanceof Date || Buffer.isBuffer(actual)) return false;
    const keys = Object.keys(expected);
    return keys.every((key) => key in actual && fits(expected[key], actual[key])) &&
      (expected[REST] || Object.keys(actual).length === keys.length);
  }
  return JSON.stringify(canonical(expected)) === JSON.stringify(canonical(actual));
}

function fitsAnyOrder(expected, actual) {
  if (!Array.isArray(actual) || actual.length !== expected.length) return false;
  const left = [...actual];
  return expected.every((item) => {
    const at = left.findIndex((other) => fits(item, other));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

module.exports = { _, canonical, examplesOf, fits, fitsAnyOrder, readPage };
