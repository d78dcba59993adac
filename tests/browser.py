"""What is asked of pages in a browser."""

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: every text that shows, with its tag and its WCAG contrast ratio against what lies under it
CONTRAST = """
() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const background = node => {
    const stack = [];
    for (let n = node; n; n = n.parentElement) stack.push(rgba(getComputedStyle(n).backgroundColor));
    return stack.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode());) {
    const node = text.parentElement, style = getComputedStyle(node);
    if (!text.data.trim() || ['title', 'desc', 'STYLE', 'SCRIPT'].includes(node.tagName)) continue;
    if (!node.getClientRects().length || node.closest('.sr, [hidden]')) continue;
    const under = background(node);
    const colour = rgba(node.ownerSVGElement ? style.fill : style.color);
    const [a, b] = [luminance(over(colour, under)), luminance(under)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    found.push([text.data.trim().slice(0, 30), node.tagName, Math.round(ratio * 100) / 100]);
  }
  return found;
}
"""

#: texts of charts that are smaller than 9.5 px or stick out of the window
ILLEGIBLE = """
() => [...document.querySelectorAll('svg.chart text')].filter(t => t.getClientRects().length).map(t => {
  const box = t.getBoundingClientRect(), svg = t.ownerSVGElement;
  const size = parseFloat(getComputedStyle(t).fontSize) * svg.getScreenCTM().a;
  return [t.textContent, size, box.left, box.right];
}).filter(([, size, left, right]) => size < 9.5 || left < 0 || right > innerWidth)
"""

#: what a page says wrongly, or not at all, to a screen reader or a keyboard
UNSAID = """
() => {
  const all = selector => [...document.querySelectorAll(selector)], wrong = [];
  const levels = all('h1, h2, h3, h4').map(h => Number(h.tagName[1]));
  levels.forEach((level, i) => { if (i && level > levels[i - 1] + 1) wrong.push(`h${level} after h${levels[i - 1]}`); });
  for (const table of all('table')) {
    if (!table.caption?.textContent.trim()) wrong.push('a table without a caption');
    for (const th of table.querySelectorAll('th')) if (!th.scope) wrong.push(`no scope: ${th.textContent.trim()}`);
    if (table.querySelectorAll('th[aria-sort]').length > 1) wrong.push('sorted by two columns');
  }
  for (const svg of all('svg:not([aria-hidden])')) {
    const ids = (svg.getAttribute('aria-labelledby') ?? '').split(' ');
    const words = ids.map(id => document.getElementById(id)?.textContent.trim());
    if (svg.getAttribute('role') !== 'img' || !words.length || !words.every(Boolean)) wrong.push('a drawing without words');
  }
  for (const part of all('a[href], button, input, summary, [tabindex]')) {
    const named = part.textContent.trim() || part.getAttribute('aria-label') || part.labels?.[0]?.textContent.trim();
    if (!named) wrong.push(`without a name: ${part.outerHTML.slice(0, 80)}`);
    if (part.tabIndex < 0) wrong.push(`out of the keyboard's reach: ${named}`);
  }
  for (const region of all('.scroll')) {
    if (!region.getAttribute('aria-label') || region.tabIndex !== 0) wrong.push('a mute region');
  }
  if (!document.documentElement.lang || !document.title.trim() || !document.querySelector('main')) wrong.push('no frame');
  return wrong;
}
"""
