// A second conversation; the first is opened again, deleted, and taken back.
press('New conversation');
find('question').value = 'What is red?';
find('ask').requestSubmit();
await answered(1);
await until(() => all('#conversations li').length === 2);
press('What is a raven?', '#conversations button');
await until(() => document.querySelector('.said').textContent === 'What is a raven?');
press('Delete “What is a raven?”');
await until(() => all('#conversations li').length === 1);
const gone = all('#turns > li').length;
press('Undo');
await until(() => all('#conversations li').length === 2);
return gone;
