// A long answer that is stopped: what there is of it stays.
choose('compare', '');
choose('temperature', '2');
choose('max_tokens', '4000');
find('question').value = 'Tell a story.';
find('ask').requestSubmit();
await until(() => all('#turns > li').length === 2 && find('send').hidden);
document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
await until(() => !find('send').hidden);
choose('temperature', '0');
choose('max_tokens', '256');
return all('#turns > li:last-child .answer').map((it) => it.getAttribute('aria-busy')).join();
