// Ten questions to the data, in ReQL. Each has the columns that its rows are shown with: [title, field, format].
'use strict';

const money = (n) => `$${(n / 1e6).toLocaleString('en', { maximumFractionDigits: 1, minimumFractionDigits: 1 })} M`;
const whole = (n) => Math.round(n).toLocaleString('en');
const one = (n) => n.toFixed(1);

const queries = (r) => {
  const t = (name) => r.db('demo').table(name);
  const isNumber = (x) => x.typeOf().eq('NUMBER');
  return [
    {
      name: 'directors',
      title: 'Directors by what their films took, with at least three films',
      query: t('movies')
        .filter((m) => m('Director').ne(null).and(isNumber(m('Worldwide Gross'))))
        .group('Director')
        .map((m) => ({ films: 1, gross: m('Worldwide Gross') }))
        .reduce((a, b) => ({ films: a('films').add(b('films')), gross: a('gross').add(b('gross')) }))
        .ungroup()
        .map((g) => ({ director: g('group'), films: g('reduction')('films'), gross: g('reduction')('gross') }))
        .filter((g) => g('films').ge(3))
        .orderBy(r.desc('gross'), 'director')
        .limit(10),
      columns: [['director', 'director'], ['films', 'films', whole], ['worldwide', 'gross', money]],
    },
    {
      name: 'loved',
      title: 'The films with the best IMDB rating, among those with 100 000 votes',
      query: t('movies')
        .filter((m) => m('IMDB Votes').ge(100000).and(isNumber(m('IMDB Rating'))))
        .map((m) => ({ title: m('Title').coerceTo('string'), rating: m('IMDB Rating'), votes: m('IMDB Votes') }))
        .orderBy(r.desc('rating'), r.desc('votes'))
        .limit(10),
      columns: [['film', 'title'], ['rating', 'rating', one], ['votes', 'votes', whole]],
    },
    {
      name: 'genres',
      title: 'What a genre costs and what it brings: the average film',
      query: t('movies')
        .filter((m) => isNumber(m('Production Budget')).and(isNumber(m('Worldwide Gross'))).and(m('Major Genre').ne(null)))
        .group('Major Genre')
        .map((m) => ({ films: 1, budget: m('Production Budget'), gross: m('Worldwide Gross') }))
        .reduce((a, b) => ({ films: a('films').add(b('films')), budget: a('budget').add(b('budget')), gross: a('gross').add(b('gross')) }))
        .ungroup()
        .map((g) => g('reduction').do((x) => ({
          genre: g('group'), films: x('films'), budget: x('budget').div(x('films')), gross: x('gross').div(x('films')),
          times: x('gross').div(x('budget')),
        })))
        .orderBy(r.desc('times')),
      columns: [['genre', 'genre'], ['films', 'films', whole], ['budget', 'budget', money], ['worldwide', 'gross', money], ['times budget', 'times', one]],
    },
    {
      name: 'hours',
      title: 'Flights by the hour they leave: the later the day, the longer the wait',
      query: t('flights')
        .group((f) => f('time').floor())
        .map((f) => ({ n: 1, delay: f('delay'), late: r.branch(f('delay').gt(60), 1, 0) }))
        .reduce((a, b) => ({ n: a('n').add(b('n')), delay: a('delay').add(b('delay')), late: a('late').add(b('late')) }))
        .ungroup()
        .map((g) => g('reduction').do((x) => ({ hour: g('group'), flights: x('n'), delay: x('delay').div(x('n')), late: x('late') })))
        .orderBy('hour'),
      columns: [['hour', 'hour', (h) => `${String(h).padStart(2, '0')}:00`], ['flights', 'flights', whole], ['average delay, minutes', 'delay', one], ['over an hour late', 'late', whole]],
    },
    {
      name: 'distances',
      title: 'Flights by distance, in steps of 500 miles',
      query: t('flights')
        .group((f) => f('distance').div(500).floor().mul(500))
        .avg('delay')
        .ungroup()
        .map((g) => ({ from: g('group'), delay: g('reduction') }))
        .orderBy('from'),
      columns: [['miles from', 'from', whole], ['average delay, minutes', 'delay', one]],
    },
    {
      name: 'origins',
      title: 'Where one waits longest: airports with 100 departures, joined with their names',
      query: t('routes')
        .group('origin')
        .map((f) => ({ n: 1, delay: f('delay') }))
        .reduce((a, b) => ({ n: a('n').add(b('n')), delay: a('delay').add(b('delay')) }))
        .ungroup()
        .map((g) => ({ origin: g('group'), flights: g('reduction')('n'), delay: g('reduction')('delay').div(g('reduction')('n')) }))
        .filter((g) => g('flights').ge(100))
        .eqJoin('origin', t('airports'))
        .zip()
        .pluck('origin', 'name', 'city', 'state', 'flights', 'delay')
        .orderBy(r.desc('delay'), 'origin')
        .limit(10),
      columns: [['airport', 'origin'], ['name', 'name'], ['city', 'city'], ['state', 'state'], ['departures', 'flights', whole], ['average delay, minutes', 'delay', one]],
    },
    {
      name: 'strongest',
      title: 'The strongest earthquakes of the week',
      query: t('quakes')
        .filter((q) => q('properties')('type').eq('earthquake'))
        .map((q) => ({
          id: q('id'), mag: q('properties')('mag'), place: q('properties')('place'),
          at: r.epochTime(q('properties')('time').div(1000)), km: q('geometry')('coordinates').nth(2),
        }))
        .orderBy(r.desc('mag'), 'id')
        .limit(10),
      columns: [['magnitude', 'mag', one], ['place', 'place'], ['time', 'at', (d) => d.toISOString().slice(0, 16).replace('T', ' ')], ['depth, km', 'km', one]],
    },
    {
      name: 'shaken',
      title: 'Airports within a degree of an earthquake of magnitude 3 or more',
      query: t('quakes')
        .filter((q) => q('properties')('mag').ge(3))
        .innerJoin(t('airports'), (q, a) => q('geometry')('coordinates').do((c) => r.and(
          c.nth(1).sub(a('latitude')).do((d) => d.mul(d)).add(c.nth(0).sub(a('longitude')).do((d) => d.mul(d))).lt(1))))
        .map((x) => ({ airport: x('right')('iata'), city: x('right')('city'), state: x('right')('state'), mag: x('left')('properties')('mag') }))
        .group('airport', 'city', 'state')
        .max('mag')
        .ungroup()
        .map((g) => g('reduction'))
        .orderBy(r.desc('mag'), 'airport')
        .limit(10),
      columns: [['airport', 'airport'], ['city', 'city'], ['state', 'state'], ['strongest', 'mag', one]],
    },
    {
      name: 'countries',
      title: 'Countries with the most places',
      query: t('cities').group('country').count().ungroup().orderBy(r.desc('reduction'), 'group').limit(10)
        .map((g) => ({ country: g('group'), places: g('reduction') })),
      columns: [['country', 'country'], ['places', 'places', whole]],
    },
    {
      name: 'names',
      title: 'The most common names of places, and in how many countries',
      options: { arrayLimit: 500000 }, // more groups than the 100 000 that a query may have by default
      query: t('cities').group('name').map((c) => [c('country')]).reduce((a, b) => a.add(b)).ungroup()
        .map((g) => ({ name: g('group'), places: g('reduction').count(), countries: g('reduction').distinct().count() }))
        .orderBy(r.desc('places'), 'name')
        .limit(10),
      columns: [['name', 'name'], ['places', 'places', whole], ['countries', 'countries', whole]],
    },
  ];
};

module.exports = { queries };
