// The server goes away and comes back: it is said, asked again, and the end stays in sight.
const reached = window.fetch;
window.fetch = () => Promise.reject(new TypeError('gone'));
find('question').value = 'Are you there?';
find('ask').requestSubmit();
await until(() => document.querySelector('.answer .error'));
const told = document.querySelector('.answer .error').textContent.includes('cannot be reached');
let sent;
window.fetch = (path, asked) => {
  sent = JSON.parse(asked.body).messages.map(({ role }) => role).join();
  return reached(path, asked);
};
find('question').value = 'And now?';
find('ask').requestSubmit();
await until(() => all('#turns > li:last-child .answer .note').length && !find('send').hidden);
window.fetch = reached;
// The question without an answer is not sent.
const heard = sent === 'user,assistant,user';
const main = find('main');
const end = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
press('Edit', '#turns > li:nth-last-child(2) button');
find('question').value = '';
return `${told}|${heard}|${end}`;
