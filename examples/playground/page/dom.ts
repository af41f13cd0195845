/** The few things that this page does to its document. */

/** @throws Error where the page lacks the element: its HTML and its script do not belong together. */
export function byId<T extends HTMLElement>(id: string, kind: abstract new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}.`);
  return found;
}

type Attributes = Record<string, string | number | boolean>;

function fill<T extends Element>(made: T, attributes: Attributes, children: Array<Node | string>): T {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, '');
    else if (value !== false) made.setAttribute(name, typeof value === 'number' ? String(round(value)) : value);
  }
  made.append(...children);
  return made;
}

/** Hundredths of a pixel are enough. */
function round(value: number): number {
  return Math.round(value * 100) / 100;
}

export function html<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Array<Node | string>
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(name), attributes, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Array<Node | string>
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

/** A row of a table: its head, then its cells. */
export function row(head: string, ...cells: Array<Node | string>): HTMLTableRowElement {
  return html('tr', {}, html('th', {scope: 'row'}, head), ...cells.map(cell => html('td', {}, cell)));
}

/** A picture as wide as its place, so that its letters keep their size: drawn again when the place changes. */
export function picture<T>(place: HTMLElement, draw: (data: T, width: number) => SVGSVGElement): (data: T) => void {
  let shown: {data: T} | null = null;
  const redraw = (): void => {
    if (shown && place.clientWidth > 0) place.replaceChildren(draw(shown.data, place.clientWidth));
  };
  new ResizeObserver(redraw).observe(place);
  return data => {
    shown = {data};
    redraw();
  };
}

/** The drawing with what it shows in words, for who does not see it. */
export function drawing(
  {width, height, title, description}: {width: number; height: number; title: string; description: string},
  ...children: Array<Node | string>
): SVGSVGElement {
  return svg(
    'svg',
    {viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': `${title}. ${description}`},
    ...children,
  );
}
