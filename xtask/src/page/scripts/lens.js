// The lens: how many words, how many shades each way of painting has, what a layer and a word change, what is said.
press('Where does it look?');
await until(() => document.querySelector('.lens .word'));
const canvas = document.querySelector('.lens canvas');
const pixels = () => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
const shades = () => new Set(pixels().filter((_, at) => at % 4 === 3)).size;
const words = all('.lens .word');
words[1].focus();
const seen = [shades()];
const first = String(pixels());
words[2].focus();
const moves = first !== String(pixels());
const said = document.querySelector('.lens .note').textContent;
words[2].click();
const averaged = String(pixels());
const layer = document.querySelector('.lens input[type=range]');
layer.value = '1';
layer.dispatchEvent(new Event('input'));
const layered = averaged !== String(pixels());
const [way, how] = all('.lens select');
how.value = 'heat';
how.dispatchEvent(new Event('change'));
seen.push(shades());
way.value = 'is_read';
way.dispatchEvent(new Event('change'));
const asked = document.querySelector('.lens .note').textContent;
for (const [select, value] of [[way, 'reads'], [how, 'spotlight']]) {
  select.value = value;
  select.dispatchEvent(new Event('change'));
}
return JSON.stringify({ words: words.length, shades: seen, moves, layered, said, asked });
