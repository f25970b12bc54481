// Elements, made without HTML: every string becomes text or an attribute, never markup.

/**
 * Make an element.
 * @param {string} name of the tag.
 * @param {object} attributes by name; `on…` are listeners; null and false: left out; true: without a value.
 * @param {...(Node|string|Array)} children; null and false are left out.
 */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...some(children));
  return element;
}

/** Set an attribute, or remove it; only what differs is written. */
export function set(element, name, value) {
  if (value === undefined || value === null || value === false) element.removeAttribute(name);
  else {
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Write the text of an element, if it differs. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Put other children into an element. */
export function replace(element, ...children) {
  element.replaceChildren(...some(children));
}

/** Have exactly these elements in another, in this order. Those that are there already are moved only if they must be, so that they keep the focus. */
export function arrange(parent, elements) {
  const staying = new Set(elements);
  for (const child of [...parent.children]) if (!staying.has(child)) child.remove();
  elements.forEach((element, at) => {
    if (parent.children[at] !== element) parent.insertBefore(element, parent.children[at] ?? null);
  });
}

const some = (children) => children.flat(2).filter((one) => one !== undefined && one !== null && one !== false);

let ids = 0;

/** An id that no other element has. */
export const newId = () => `n${++ids}`;

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u{34f}\u{115f}\u{1160}\u{3164}\u{ffa0}]/gu;

/** A text with escapes for invisible characters, and for those that reverse the order of others. */
export function printable(text) {
  return String(text).replace(HIDDEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

/** The same for texts of several lines. */
export const printableLines = (text) => String(text).split("\n").map(printable).join("\n");
