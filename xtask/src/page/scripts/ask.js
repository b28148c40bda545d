// An example picture, then a question by the keyboard's way of sending.
press('A room', '#examples button');
await until(() => all('#suggestions button').length > 1);
const question = find('question');
question.value = 'What can you see in the image?';
question.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
await answered(1);
return document.querySelector('.answer .text').textContent;
