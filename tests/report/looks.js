// What cannot be seen of the page as it is laid out now: {outside: text beyond the window or in a box that overflows,
// pale: text whose contrast is below 4.5 (WCAG 2.2, AA)}. Folded text and that of the grid's own scrolling box are left out.
() => {
  const outside = [], pale = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange(), wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) outside.push(`the page is ${wide} wide`);
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.scrollWidth > box.clientWidth + 1) outside.push(`a box overflows: ${box.textContent.slice(0, 80)}`);
  }
  const parts = colour => colour.match(/[\d.]+/g).map(Number);
  const linear = c => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const opaque = node => (parts(getComputedStyle(node).backgroundColor)[3] ?? 1) > 0;
  while (walker.nextNode()) {
    const text = walker.currentNode.data, parent = walker.currentNode.parentElement;
    if (!text.trim() || parent.closest("script, style, select, textarea, noscript, .dropped .text")) continue;
    if (!parent.checkVisibility()) continue;
    range.selectNodeContents(walker.currentNode);
    const beyond = r => r.left < -1 || r.right > innerWidth + 1;
    if (!parent.closest("#grid") && [...range.getClientRects()].some(beyond)) outside.push(text.slice(0, 80));
    let under = parent;
    while (under.parentElement && !opaque(under)) under = under.parentElement;
    const colours = [getComputedStyle(parent).color, getComputedStyle(under).backgroundColor];
    const [dark, light] = colours.map(colour => luminance(parts(colour))).sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) pale.add(`${parent.className || parent.tagName}: ${contrast.toFixed(2)}`);
  }
  return { outside, pale: [...pale] };
}
