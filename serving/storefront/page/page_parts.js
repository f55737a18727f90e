// What the page is made of. Texts become text nodes, so that nothing of a catalogue can be markup.
export const $ = (id) => document.getElementById(id)

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

export function tile(product) {
  const category = product.category || ''
  const made = element('span', { className: 'tile', ariaHidden: 'true' }, (category.split('/').pop() || product.product_id).slice(0, 1))
  let hue = 0
  for (const letter of category) hue = (hue * 31 + letter.codePointAt(0)) % 360
  made.style.setProperty('--hue', hue)
  return made
}

export const title = (product) => product.name || product.product_id

export function price(product) {
  if (product.price == null) return ''
  return product.currency ? `${product.price.toFixed(2)} ${product.currency}` : product.price.toFixed(2)
}

export function age(milliseconds) {
  const seconds = Math.max(milliseconds, 0) / 1000
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`
}
