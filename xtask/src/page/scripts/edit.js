// Takes the first question back, and asks another without a picture.
press('Edit');
const question = find('question');
await until(() => all('#images img').length === 1 && question.value !== '');
press('Remove image 1');
question.value = 'What is a raven?';
find('ask').requestSubmit();
await answered(1);
return `${all('#turns img').length}|${all('#turns > li').length}`;
