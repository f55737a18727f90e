// The side panel: an event's way with its times, a customer's features with their ages, the model.
import { $, age, element } from '/storefront/page/page_parts.js'

const STEPS = [
  ['accepted', 'accepted by the collector'],
  ['kafka', 'in Kafka (acknowledged)'],
  ['processed', 'processed by the stream'],
  ['feature', 'feature updated in Redis'],
  ['changed', 'recommendation changed'],
]

// Times in milliseconds since the click; a text says why there is none.
export function showWay(what, times) {
  const longest = Math.max(1, ...Object.values(times).filter(Number.isFinite))
  const rows = STEPS.map(([name, label]) => {
    const time = times[name]
    const known = Number.isFinite(time)
    const row = element('li', {}, element('span', {}, label), element('span', { className: 'number' }, known ? `${Math.max(0, Math.round(time))} ms` : time || '…'))
    row.dataset.step = name
    if (known) row.append(element('progress', { max: longest, value: Math.max(0, time), ariaHidden: 'true' }))
    return row
  })
  $('way').replaceChildren(element('p', { className: 'faint' }, what), element('ol', { className: 'way' }, ...rows))
}

export function showCustomer(who, known) {
  const last = known.last_event_at == null ? 'nothing is known yet' : `${known.event_count} events, the last ${age(known.now - known.last_event_at)} ago`
  const rows = known.features.map((feature) => element('tr', {},
    element('th', { title: feature.description, scope: 'row' }, feature.name),
    element('td', { className: 'number' }, feature.value.toFixed(2)),
    element('td', { className: 'number' }, feature.at == null ? '–' : age(known.now - feature.at))))
  const head = element('tr', {}, element('th', {}, 'feature'), element('th', { className: 'number' }, 'value'), element('th', { className: 'number' }, 'age'))
  const parts = [element('p', {}, `${who.known ? 'Customer' : 'Visitor'} ${who.id}`), element('p', { className: 'faint' }, last)]
  if (rows.length) parts.push(element('table', {}, head, ...rows))
  $('features').replaceChildren(...parts)
}

export function showModel(answer) {
  const lacking = answer.degraded?.length ? `, without: ${answer.degraded.join(', ')}` : ''
  const how = { popular: 'nothing personal is known: popular products', session: 'from this visit alone', empty: 'nothing to recommend' }
  $('model').replaceChildren(
    element('p', {}, answer.model_version || 'no model has been trained yet'),
    element('p', { className: 'faint' }, `${how[answer.fallback] || 'ranked for this customer'}${lacking}`))
}
