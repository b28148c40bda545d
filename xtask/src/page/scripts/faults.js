// What is wrong for somebody who does not see the page, sees it badly, or on a phone.
const faults = [];
const shown = (it) => it.checkVisibility({ visibilityProperty: true, opacityProperty: true });
for (const it of all('input, select, textarea')) {
  if (!it.labels?.length && !it.ariaLabel) faults.push(`no label: ${it.id}`);
}
for (const it of all('button')) {
  if (!it.textContent.trim() && !it.ariaLabel && !it.querySelector('img[alt]:not([alt=""])')) faults.push(`a button without a name: ${it.outerHTML}`);
  const { width, height } = it.getBoundingClientRect();
  if (shown(it) && !it.classList.contains('word') && Math.min(width, height) < 24) faults.push(`a button that is hard to hit: ${it.outerHTML}`);
}
for (const it of all('img')) {
  if (!it.hasAttribute('alt')) faults.push('an image without a text');
}
const wide = document.documentElement.scrollWidth - innerWidth;
if (wide > 0) faults.push(`${wide} pixels too wide`);
const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const paint = (colours) => {
  colours.forEach((colour) => {
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
  });
  const parts = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
for (const it of all('body *')) {
  const text = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!text || !shown(it) || it.disabled || it.tagName === 'OPTION') continue;
  const backgrounds = [];
  for (let at = it; at; at = at.parentElement) backgrounds.unshift(getComputedStyle(at).backgroundColor);
  const behind = paint(['white', ...backgrounds]);
  const before = paint([getComputedStyle(it).color]);
  const contrast = (Math.max(behind, before) + 0.05) / (Math.min(behind, before) + 0.05);
  if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(1)}: ${it.textContent.trim().slice(0, 30)}`);
}
return faults.join('\n');
