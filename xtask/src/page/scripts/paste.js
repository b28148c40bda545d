// Pictures that are pasted, dropped, chosen and photographed, and a file that is none.
const canvas = document.createElement('canvas');
const blob = await new Promise((done) => canvas.toBlob(done));
const data = (file) => {
  const carried = new DataTransfer();
  carried.items.add(file);
  return carried;
};
const picture = (name) => new File([blob], name, { type: 'image/png' });
const paste = (file) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data(file), cancelable: true }));
const count = (wanted) => until(() => all('#images img').length === wanted);
paste(picture('a.png'));
await count(1);
document.dispatchEvent(new DragEvent('drop', { dataTransfer: data(picture('b.png')), cancelable: true }));
await count(2);
find('files').files = data(picture('c.png')).files;
find('files').dispatchEvent(new Event('change'));
await count(3);
find('photo').click();
await until(() => find('webcam').open && find('preview').videoWidth > 0);
find('snap').click();
await count(4);
paste(new File(['x'], 'd.png', { type: 'image/png' }));
await until(() => find('status').textContent.includes('d.png'));
return all('#images img').length;
